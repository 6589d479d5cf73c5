"""Scores of the parameters in force on attempts that are not in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import BadInputError
from bkt_core.evaluation.metrics import score
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from datasets.attempt_files import read_attempt_file
from datasets.import_plan import plan_import

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from bkt_core.evaluation.metrics import Scores
    from bkt_core.params import BktParams
    from datasets.attempt_columns import FileOptions


def evaluate_file(
    path: Path,
    options: FileOptions,
    *,
    params: Mapping[str, BktParams],
    defaults: BktParams,
    concepts_of: Mapping[str, Sequence[str]],
    latest: datetime,
) -> Scores:
    """Predict every attempt of a file from those before it, and pool the scores.

    Rows that an import would set aside are left out. Concepts without parameters get the
    defaults.
    """
    plan = plan_import(
        read_attempt_file(path, options), source="", latest=latest, concepts_of=concepts_of
    )
    attempts = plan.new.sort("concept_id", "user_id", "attempted_at", "row")
    if attempts.is_empty():
        raise BadInputError(
            f"Expected attempts in {path}, found none that can be scored "
            f"({plan.broken.height} rows break a rule)."
        )
    outcomes, predictions = [], []
    for (concept,), rows in attempts.group_by("concept_id", maintain_order=True):
        lengths = rows.group_by("user_id", maintain_order=True).len()["len"].to_numpy()
        sequences = AttemptSequences(
            rows["correct"].cast(int).to_numpy().astype(np.int8),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )
        outcomes.append(sequences.correct)
        predictions.append(predict(sequences, params.get(str(concept), defaults)))
    return score(np.concatenate(outcomes), np.concatenate(predictions))

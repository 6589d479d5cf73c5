"""Score the parameters in force on attempts that are not in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from bkt_core.errors import BadInputError
from bkt_core.evaluation.metrics import score
from bkt_core.family.params import has_multipliers, odds_of
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from bkt_core.standing_log import StandingLog, facts_of_log
from datasets.accounting import RowCounts
from datasets.attempt_files.folders import open_attempts
from datasets.imports.plan import plan_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from bkt_core.evaluation.metrics import Scores
    from bkt_core.family.facts import AttemptFacts
    from bkt_core.family.params import Params
    from datasets.attempt_files.options import FileOptions
    from datasets.imports.plan import RowRules


@dataclass(frozen=True, slots=True, kw_only=True)
class FileScores:
    """Scores of a file, and the rows that were scored."""

    scores: Scores
    #: Counts of the file's rows; the accepted ones were scored.
    rows: RowCounts
    #: Number of rows by the first rule that they broke.
    reasons: dict[str, int]
    #: Concepts without parameters, which were scored with the defaults.
    at_defaults: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return self.scores.as_json() | {
            "rows": self.rows.as_dict() | {"skipped": self.rows.skipped},
            "reasons": self.reasons,
            "at_defaults": list(self.at_defaults),
        }


def evaluate_file(
    path: Path,
    options: FileOptions,
    rules: RowRules,
    *,
    params: Mapping[str, Params],
    defaults: Params,
) -> FileScores:
    """Predict every attempt of a file from the attempts before it, and pool the scores.

    Rows that an import would quarantine or count as duplicates are left out and counted.
    Concepts without parameters are predicted with the defaults. Versions with history read
    what the file has of a user, not the database.
    """
    plan = plan_all(open_attempts(path, options), rules)
    attempts = plan.new.sort("concept_id", "user_id", "attempted_at", "row")
    if attempts.is_empty():
        raise BadInputError(
            f"Expected attempts in {path}, found none that can be scored "
            f"({plan.broken.height} rows break a rule)."
        )
    facts = _facts(attempts, params)
    outcomes, predictions, at_defaults, first = [], [], [], 0
    for (name,), rows in attempts.group_by("concept_id", maintain_order=True):
        concept = str(name)
        if concept not in params:
            at_defaults.append(concept)
        lengths = rows.group_by("user_id", maintain_order=True).len()["len"].to_numpy()
        sequences = AttemptSequences(
            rows["correct"].cast(int).to_numpy().astype(np.int8),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )
        outcomes.append(sequences.correct)
        own = None if facts is None else facts.part(slice(first, first + rows.height))
        predictions.append(predict(sequences, params.get(concept, defaults), own))
        first += rows.height
    return FileScores(
        scores=score(np.concatenate(outcomes), np.concatenate(predictions)),
        rows=RowCounts(
            read=plan.rows.height,
            accepted=plan.new["row"].n_unique(),
            duplicates=plan.duplicates.height,
            quarantined=plan.broken.height,
            skipped=plan.skipped,
        ),
        reasons=plan.reasons(),
        at_defaults=tuple(at_defaults),
    )


def _facts(attempts: pl.DataFrame, params: Mapping[str, Params]) -> AttemptFacts | None:
    """Return the facts of attempts, in their order; None if no concept needs them."""
    if not any(has_multipliers(own) for own in params.values()):
        return None
    keys = attempts.select("concept_id", "question_id").iter_rows()
    odds = [odds_of(params.get(concept), question) for concept, question in keys]
    return facts_of_log(
        StandingLog(
            user=_codes(attempts["user_id"]),
            concept=_codes(attempts["concept_id"]),
            moment=attempts["attempted_at"].dt.epoch("us").to_numpy(),
            attempt=attempts["row"].cast(pl.Int64).to_numpy(),
            correct=attempts["correct"].cast(pl.Int8).to_numpy(),
        ),
        np.array(odds),
    )


def _codes(ids: pl.Series) -> NDArray[np.int64]:
    return ids.cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()

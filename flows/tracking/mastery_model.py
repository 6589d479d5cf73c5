"""The registered model: parameters as JSON, predictions by the pipeline's own replay.

MLflow loads this file as code, so that no pickle is read. That is the only reason why it
imports MLflow; all other code that uses MLflow is in `client.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # MLflow reads the annotations of `predict`
from mlflow.models import set_model
from mlflow.pyfunc.model import (
    PythonModel,
    PythonModelContext,
)
from numpy.typing import NDArray

from bkt_core.errors import BadInputError
from bkt_core.family.facts import AttemptFacts
from bkt_core.family.params import has_multipliers, odds_of, params_from_dict
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from bkt_core.standing_log import StandingLog, facts_of_log


class MasteryModel(PythonModel):
    """Predicts P(correct) before each attempt, from the attempts before it.

    The input is a frame with `user_id`, `concept_id` and `correct` (0 or 1), and `attempted_at`
    if the rows of a user are not in order. Concepts without parameters get the defaults.
    Versions with questions, history or gap need `attempted_at`, and read `question_id`; what a
    user did before is what the frame has of them.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the parameters."""
        content = json.loads(Path(context.artifacts["parameters"]).read_text(encoding="utf-8"))
        self.defaults = params_from_dict(content["defaults"])
        self.concepts = {
            name: params_from_dict(own) for name, own in content["concepts"].items()
        }

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> NDArray[np.float64]:
        """Return P(correct) of each row, in the order of the rows."""
        p_correct = np.empty(len(model_input), dtype=np.float64)
        frame = model_input.reset_index(drop=True)
        facts = self._facts(frame)
        order = ["attempted_at"] if "attempted_at" in frame else []
        for concept, rows in frame.groupby("concept_id", sort=False):
            rows = rows.sort_values(["user_id", *order], kind="stable")
            lengths = rows.groupby("user_id", sort=True).size().to_numpy()
            sequences = AttemptSequences(
                correct=rows["correct"].to_numpy(dtype=np.int8),
                offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            )
            chosen = self.concepts.get(str(concept), self.defaults)
            at = rows.index.to_numpy(dtype=np.int64)
            p_correct[at] = predict(sequences, chosen, facts and facts.part(at))
        return p_correct

    def _facts(self, frame: pd.DataFrame) -> AttemptFacts | None:
        """Return the facts of each row; None if no concept needs them."""
        if not any(map(has_multipliers, self.concepts.values())):
            return None
        if "attempted_at" not in frame:
            raise BadInputError(
                "Expected a column attempted_at, which a version with question odds or weights "
                f"needs, found {', '.join(map(str, frame.columns))}."
            )
        times = pd.to_datetime(frame["attempted_at"], utc=True).dt.tz_localize(None)
        questions = frame["question_id"] if "question_id" in frame else [None] * len(frame)
        odds = [
            odds_of(self.concepts.get(str(concept)), None if pd.isna(own) else str(own))
            for concept, own in zip(frame["concept_id"], questions, strict=True)
        ]
        return facts_of_log(
            StandingLog(
                user=pd.factorize(frame["user_id"])[0].astype(np.int64),
                concept=pd.factorize(frame["concept_id"])[0].astype(np.int64),
                moment=times.to_numpy("datetime64[us]").astype(np.int64),
                attempt=np.arange(len(frame), dtype=np.int64),
                correct=frame["correct"].to_numpy(dtype=np.int8),
            ),
            np.array(odds, dtype=np.float64),
        )


set_model(MasteryModel())

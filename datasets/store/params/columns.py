"""The columns of `bkt_skill_params` that hold parameters, and the parameters of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bkt_core.family.params import WEIGHT_NAMES, FamilyParams
from bkt_core.params import BktParams
from datasets.store.schema.tables import SkillParamsRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bkt_core.family.params import Params

#: The four probabilities, then what only some versions have, which is null in the others.
PARAM_COLUMNS = (
    SkillParamsRow.p_l0,
    SkillParamsRow.p_t,
    SkillParamsRow.p_s,
    SkillParamsRow.p_g,
    SkillParamsRow.p_f,
    *(getattr(SkillParamsRow, name) for name in WEIGHT_NAMES),
)


def params_of_row(row: Any, *, question_odds: bool = False) -> Params:  # noqa: ANN401 - a row with `PARAM_COLUMNS`
    """Return the parameters of a row, in the class that its version replays with.

    `question_odds` tells whether the row's version has questions; their odds are read with the
    attempts of the log, or by `question_odds_of`.
    """
    base = BktParams(row.p_l0, row.p_t, row.p_s, row.p_g)
    weights = {
        name: value for name in WEIGHT_NAMES if (value := getattr(row, name)) is not None
    }
    if row.p_f is None and not weights and not question_odds:
        return base
    return FamilyParams(base, row.p_f, weights, {} if question_odds else None)


def has_question_odds(settings: Mapping[str, Any] | None) -> bool:
    """Return whether a version with these settings has questions."""
    return bool(((settings or {}).get("variant") or {}).get("questions"))


def columns_of_params(params: Params) -> dict[str, float | None]:
    """Return the value of each column of `PARAM_COLUMNS`, by name."""
    values = params.as_dict()
    return {
        "p_l0": params.p_L0,
        "p_t": params.p_T,
        "p_s": params.p_S,
        "p_g": params.p_G,
        "p_f": values.get("p_F"),
        **{name: values.get(name) for name in WEIGHT_NAMES},
    }


def question_rows(
    param_id: int, params: Params, n_attempts: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the rows of `bkt_question_params` of a row of parameters, by question id."""
    odds = params.question_odds if isinstance(params, FamilyParams) else None
    return [
        {
            "param_id": param_id,
            "question_id": question_id,
            "odds": value,
            "n_attempts": n_attempts.get(question_id, 0),
        }
        for question_id, value in sorted((odds or {}).items())
    ]

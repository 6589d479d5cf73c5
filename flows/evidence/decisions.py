"""The decisions of a run, written before the first switch: `<run>/decisions.json`.

Promotion reads only this file, so that a run that was killed between two switches continues
with the same decisions, whatever is in force by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bkt_core.evaluation.checks import Decision
from bkt_core.family.params import params_as_json, params_from_dict
from datasets.store.params.skill_params import Challenger
from datasets.whole_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bkt_core.judgement.evidence import Verdict

#: Name of the file with the decisions, in the folder of a run.
DECISIONS = "decisions.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptDecision:
    """The decision on one concept, with everything that its switch and its event need."""

    concept_id: str
    decision: Decision
    reasons: tuple[dict[str, Any], ...]
    expected_param_id: int | None
    #: True if nothing was tested, so that no event is written.
    untested: bool
    challenger: Challenger | None


def concept_decision(
    verdict: Verdict,
    *,
    untested: bool,
    fit_key: str | None,
    settings_digest: str,
    fitted_at: datetime,
    data_from: datetime | None,
    data_to: datetime | None,
) -> ConceptDecision:
    """Convert a verdict to the decision that promotion reads."""
    fit, champion = verdict.evidence.fit, verdict.evidence.champion
    challenger = None
    if verdict.decision is Decision.PROMOTED and fit.params is not None:
        challenger = Challenger(
            params=fit.params,
            n_attempts=fit.n_attempts,
            n_users=fit.n_users,
            fitted_at=fitted_at,
            metrics=fit.metrics() | {"fit_key": fit_key, "settings_digest": settings_digest},
            fitted_on_data_from=data_from,
            fitted_on_data_to=data_to,
            question_attempts=fit.question_attempts,
        )
    return ConceptDecision(
        concept_id=verdict.concept_id,
        decision=verdict.decision,
        reasons=tuple(check.as_json() for check in verdict.reasons),
        expected_param_id=None if champion is None else champion.param_id,
        untested=untested,
        challenger=challenger,
    )


def write_decisions(
    path: Path, decisions: Sequence[ConceptDecision], *, is_repeatable: bool
) -> None:
    """Write the decisions of a run.

    `is_repeatable` says that the same run would decide the same again; it is false if a concept
    failed or a fit ran out of time.
    """
    decided = [_as_json(decision) for decision in decisions]
    write_json(path, {"is_repeatable": is_repeatable, "decisions": decided})


def read_decisions(path: Path) -> list[ConceptDecision]:
    """Read the decisions that `write_decisions` wrote."""
    return [_from_json(values) for values in read_json(path)["decisions"]]


def read_repeatable(path: Path) -> list[ConceptDecision] | None:
    """Read the decisions if the same run would decide the same again, else return None."""
    values = read_json(path)
    if not values.get("is_repeatable"):
        return None
    return [_from_json(decided) for decided in values["decisions"]]


def _as_json(decision: ConceptDecision) -> dict[str, Any]:
    challenger = decision.challenger
    return {
        "concept_id": decision.concept_id,
        "decision": decision.decision.value,
        "reasons": list(decision.reasons),
        "expected_param_id": decision.expected_param_id,
        "untested": decision.untested,
        "challenger": challenger
        and {
            "params": params_as_json(challenger.params),
            "n_attempts": challenger.n_attempts,
            "n_users": challenger.n_users,
            "fitted_at": challenger.fitted_at.isoformat(),
            "metrics": challenger.metrics,
            "data_from": _text(challenger.fitted_on_data_from),
            "data_to": _text(challenger.fitted_on_data_to),
            **_attempts_as_json(challenger),
        },
    }


def _from_json(values: dict[str, Any]) -> ConceptDecision:
    one = values["challenger"]
    challenger = one and Challenger(
        params=params_from_dict(one["params"]),
        n_attempts=one["n_attempts"],
        n_users=one["n_users"],
        fitted_at=datetime.fromisoformat(one["fitted_at"]),
        metrics=one["metrics"],
        fitted_on_data_from=_moment(one["data_from"]),
        fitted_on_data_to=_moment(one["data_to"]),
        question_attempts=one.get("question_attempts", {}),
    )
    return ConceptDecision(
        concept_id=values["concept_id"],
        decision=Decision(values["decision"]),
        reasons=tuple(values["reasons"]),
        expected_param_id=values["expected_param_id"],
        untested=values["untested"],
        challenger=challenger,
    )


def _attempts_as_json(challenger: Challenger) -> dict[str, Any]:
    """Return the attempts of questions; nothing for a version without questions."""
    attempts = dict(challenger.question_attempts)
    return {"question_attempts": attempts} if attempts else {}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

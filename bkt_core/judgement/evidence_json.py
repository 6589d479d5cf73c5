"""Convert the evidence on one concept to plain values and back, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bkt_core.evaluation.checks import GateReport
from bkt_core.evaluation.comparison import Comparison
from bkt_core.evaluation.concept_fit_json import concept_fit_as_json, concept_fit_from_json
from bkt_core.family.params import params_as_json, params_from_dict
from bkt_core.judgement.evidence import Champion, ConceptEvidence
from bkt_core.judgement.impact import Impact

if TYPE_CHECKING:
    from collections.abc import Mapping


def evidence_as_json(evidence: ConceptEvidence, *, fit: object = None) -> dict[str, Any]:
    """Return plain values; `evidence_from_json` is the inverse, bit for bit.

    `fit` is the converted fit, if the caller already has it.
    """
    champion, against, moved = evidence.champion, evidence.against_champion, evidence.impact
    return {
        "fit": concept_fit_as_json(evidence.fit) if fit is None else fit,
        "champion": None if champion is None else _champion_as_json(champion),
        "against_champion": None if against is None else against.as_json(),
        "impact": None if moved is None else moved.as_json(),
        "report": evidence.report.as_json(),
    }


def evidence_from_json(values: Mapping[str, Any]) -> ConceptEvidence:
    """Read the values that `evidence_as_json` returned."""
    champion, against = values["champion"], values["against_champion"]
    moved = values["impact"]
    return ConceptEvidence(
        fit=concept_fit_from_json(values["fit"]),
        champion=None if champion is None else _champion_from_json(champion),
        against_champion=None if against is None else Comparison.from_json(against),
        impact=None if moved is None else Impact.from_json(moved),
        report=GateReport.from_json(values["report"]),
    )


def _champion_as_json(champion: Champion) -> dict[str, Any]:
    return {
        "params": params_as_json(champion.params),
        "fold_seed": champion.fold_seed,
        "fold_params": [None if p is None else params_as_json(p) for p in champion.fold_params],
        "age_days": champion.age_days,
        "param_id": champion.param_id,
    }


def _champion_from_json(values: Mapping[str, Any]) -> Champion:
    fold_params = (None if p is None else params_from_dict(p) for p in values["fold_params"])
    read = dict(values) | {
        "params": params_from_dict(values["params"]),
        "fold_params": tuple(fold_params),
    }
    return Champion(**read)

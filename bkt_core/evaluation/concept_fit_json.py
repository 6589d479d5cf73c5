"""Convert a `ConceptFit` to plain values and back, bit for bit."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bkt_core.evaluation.checks import GateReport
from bkt_core.evaluation.comparison import Comparison
from bkt_core.evaluation.concept_fit import ConceptFit, Evidence, WideFit
from bkt_core.evaluation.metrics import Scores
from bkt_core.evaluation.tally import Tally
from bkt_core.family.fit import fit_from_json
from bkt_core.family.params import params_from_dict
from bkt_core.params import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping


def concept_fit_as_json(fit: ConceptFit) -> dict[str, Any]:
    """Return plain values; `concept_fit_from_json` is the inverse, bit for bit."""
    return {
        "concept_id": fit.concept_id,
        "engine": fit.engine,
        "fold_seed": fit.fold_seed,
        "n_folds": fit.n_folds,
        "n_attempts": fit.n_attempts,
        "n_users": fit.n_users,
        "n_correct": fit.n_correct,
        "report": fit.report.as_json(),
        "evidence": None if fit.evidence is None else _evidence_as_json(fit.evidence),
        "wide": None if fit.wide is None else _wide_as_json(fit.wide),
    }


def concept_fit_from_json(values: Mapping[str, Any]) -> ConceptFit:
    """Read the values that `concept_fit_as_json` returned."""
    evidence, wide = values["evidence"], values["wide"]
    read = dict(values) | {
        "report": GateReport.from_json(values["report"]),
        "evidence": None if evidence is None else _evidence_from_json(evidence),
        "wide": None if wide is None else _wide_from_json(wide),
    }
    return ConceptFit(**read)


def _evidence_as_json(evidence: Evidence) -> dict[str, Any]:
    return {
        "final": evidence.final.as_json(),
        "fold_fits": [None if fit is None else fit.as_json() for fit in evidence.fold_fits],
        "scores": evidence.scores.as_json(),
        "fold_scores": [None if s is None else s.as_json() for s in evidence.fold_scores],
        "tally": evidence.tally.as_json(),
        "against_defaults": evidence.against_defaults.as_json(),
        "against_mean": evidence.against_mean.as_json(),
    }


def _evidence_from_json(values: Mapping[str, Any]) -> Evidence:
    return Evidence(
        final=fit_from_json(values["final"]),
        fold_fits=tuple(
            None if fit is None else fit_from_json(fit) for fit in values["fold_fits"]
        ),
        scores=Scores.from_json(values["scores"]),
        fold_scores=tuple(
            None if one is None else Scores.from_json(one) for one in values["fold_scores"]
        ),
        tally=Tally.from_json(values["tally"]),
        against_defaults=Comparison.from_json(values["against_defaults"]),
        against_mean=Comparison.from_json(values["against_mean"]),
    )


def _wide_as_json(wide: WideFit) -> dict[str, Any]:
    return {
        "bounds": asdict(wide.bounds),
        "params": wide.params.as_dict(),
        "scores": wide.scores.as_json(),
        "tally": wide.tally.as_json(),
    }


def _wide_from_json(values: Mapping[str, Any]) -> WideFit:
    return WideFit(
        bounds=Bounds(**values["bounds"]),
        params=params_from_dict(values["params"]),
        scores=Scores.from_json(values["scores"]),
        tally=Tally.from_json(values["tally"]),
    )

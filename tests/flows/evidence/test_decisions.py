"""The decisions of a run are read back as they were written, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from bkt_core.evaluation.checks import Check, Decision, GateReport, Severity
from bkt_core.family.params import FamilyParams
from bkt_core.judgement.evidence import Champion, ConceptEvidence, Verdict
from bkt_core.params import BktParams
from datasets.store.params.skill_params import Challenger
from flows.evidence.decisions import (
    ConceptDecision,
    concept_decision,
    read_decisions,
    read_repeatable,
    write_decisions,
)
from flows.lifecycle.stages import (
    NOTHING_PROMOTED,
    NOTHING_RECOMPUTED,
    Extracted,
    Fitted,
    Promoted,
    count_decisions,
    count_origins,
)
from flows.shards.works import Origin

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 1, 5, 8, 0, 0, 123456, tzinfo=UTC)
CHALLENGER = Challenger(
    params=BktParams(0.1 + 0.2, 1 / 3, 0.1, 0.2),
    n_attempts=7,
    n_users=3,
    fitted_at=AT,
    metrics={"auc": 0.7, "fit_key": "k"},
    fitted_on_data_from=None,
    fitted_on_data_to=AT,
)
FORGETTING = FamilyParams(CHALLENGER.params, 1 / 30)


def decided(decision: Decision, challenger: Challenger | None = None, **changes: object):
    """A decision on one concept."""
    values = {
        "concept_id": "é 'x'", "decision": decision, "reasons": ({"name": "n"},),
        "expected_param_id": 4, "untested": False, "challenger": challenger,
    } | changes  # fmt: skip
    return ConceptDecision(**values)


def test_what_is_written_is_read(tmp_path: Path):
    """With a challenger of either kind and without, tested and untested, an open window."""
    decisions = [
        decided(Decision.PROMOTED, CHALLENGER),
        decided(Decision.PROMOTED, replace(CHALLENGER, params=FORGETTING)),
        decided(Decision.KEPT, untested=True, expected_param_id=None, reasons=()),
    ]
    file = tmp_path / "decisions.json"
    write_decisions(file, decisions, is_repeatable=True)
    assert read_decisions(file) == read_repeatable(file) == decisions
    write_decisions(file, decisions, is_repeatable=False)
    assert read_decisions(file) == decisions
    assert read_repeatable(file) is None


class _Fit:
    """What a decision takes from a concept's fit."""

    concept_id, n_attempts, n_users, question_attempts = "c", 7, 3, {}

    def __init__(self, params: BktParams | None) -> None:
        self.params = params

    def metrics(self) -> dict[str, object]:
        """The scores of the fit."""
        return {"auc": 0.7}


def decided_on(params: BktParams | None, *failed: Check, champion: Champion | None = None):
    """The decision on a fit, given the checks that failed."""
    evidence = ConceptEvidence(
        fit=_Fit(params), champion=champion, against_champion=None, impact=None, report=None
    )
    verdict = Verdict(evidence=evidence, report=GateReport(failed), adjusted_p=None)
    return concept_decision(
        verdict, untested=False, fit_key="k", settings_digest="s", fitted_at=AT,
        data_from=None, data_to=AT,
    )  # fmt: skip


def test_only_a_winner_with_parameters_has_a_challenger():
    """A winner's row names the fit and the settings it came from."""
    params = CHALLENGER.params
    lost = Check("not_worse", False, 0.0, 1.0, Severity.COMPARE, "Worse.")
    won = decided_on(params)
    assert won.decision is Decision.PROMOTED
    assert won.challenger.params == params
    assert won.challenger.metrics == {"auc": 0.7, "fit_key": "k", "settings_digest": "s"}
    kept = decided_on(params, lost)
    assert (kept.decision, kept.challenger) == (Decision.KEPT, None)
    assert kept.reasons == (lost.as_json(),)
    assert decided_on(None).challenger is None


def test_a_decision_expects_the_row_that_it_was_made_against():
    champion = Champion(params=CHALLENGER.params, param_id=7)
    assert decided_on(None, champion=champion).expected_param_id == 7
    assert decided_on(None).expected_param_id is None


def test_winners_that_kept_what_they_had_count_as_kept():
    """The counts of the summary are those of the database afterwards."""
    decisions = [decided(Decision.PROMOTED, CHALLENGER) for _ in range(3)]
    decisions += [decided(Decision.KEPT), decided(Decision.REJECTED)]
    kept_after_all = Promoted(promoted=("a", "b"), kept_after_all={"c": "pinned"})
    assert dict(count_decisions(decisions, kept_after_all)) == {
        Decision.PROMOTED: 2, Decision.KEPT: 2, Decision.REJECTED: 1,
    }  # fmt: skip
    assert count_decisions(decisions, NOTHING_PROMOTED)[Decision.PROMOTED] == 3


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        (Origin.FITTED, "fitted"), (Origin.REUSED, "reused"), (Origin.KEPT, "reused"),
        (Origin.SKIPPED, "skipped"), (Origin.FAILED, "failed"),
    ],
)  # fmt: skip
def test_each_origin_counts_under_its_name(origin: Origin, name: str):
    """A concept that was kept without a test counts as reused."""
    none = dict.fromkeys(("fitted", "reused", "skipped", "failed"), 0)
    assert count_origins([origin, origin]) == none | {name: 2}


@pytest.mark.parametrize(
    ("origins", "decision", "is_new", "unchanged"),
    [
        ([Origin.KEPT], decided(Decision.KEPT), False, True),
        ([Origin.KEPT], decided(Decision.KEPT), True, False),
        ([Origin.FITTED], decided(Decision.KEPT), False, False),
        ([Origin.FAILED], decided(Decision.KEPT), False, False),
        ([Origin.REUSED], decided(Decision.PROMOTED, CHALLENGER), False, False),
        ([], decided(Decision.KEPT), False, True),
    ],
)
def test_a_run_is_unchanged_only_if_nothing_is_new(origins, decision, is_new, unchanged):
    """The same attempts, nothing fitted, nothing failed, nothing won."""
    fitted = Fitted(
        origins=tuple(origins), decisions=(decision,), evidence=None, seconds={},
        data_is_new=is_new,
    )  # fmt: skip
    assert fitted.is_unchanged is unchanged
    assert fitted.is_empty is (not origins)
    assert fitted.has_news is (bool(origins) and not unchanged)


@pytest.mark.parametrize(
    ("origins", "dry_run", "logged"),
    [([Origin.FITTED], False, True), ([Origin.FITTED], True, False), ([], False, False)],
)
def test_a_run_with_news_is_logged_unless_it_is_dry(origins, dry_run, logged):
    fitted = Fitted(
        origins=tuple(origins), decisions=(), evidence=None, seconds={}, data_is_new=True
    )
    assert fitted.goes_to_mlflow(SimpleNamespace(dry_run=dry_run)) is logged


def test_the_result_of_a_stage_cannot_be_changed(tmp_path: Path):
    extracted = Extracted(root=tmp_path, session=tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        extracted.root = tmp_path / "other"


def test_a_stage_that_did_not_run_did_nothing():
    assert (NOTHING_RECOMPUTED.replayed, NOTHING_RECOMPUTED.snapshotted) == (0, 0)

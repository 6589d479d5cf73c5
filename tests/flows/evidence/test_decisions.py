"""The decisions of a run are read back as they were written, to the last bit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bkt_core.evaluation.checks import Decision
from bkt_core.params import BktParams
from datasets.store.params.skill_params import Challenger
from flows.evidence.decisions import (
    ConceptDecision,
    read_decisions,
    read_repeatable,
    write_decisions,
)
from flows.lifecycle.stages import (
    NOTHING_PROMOTED,
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


def decided(decision: Decision, challenger: Challenger | None = None, **changes: object):
    """A decision on one concept."""
    values = {
        "concept_id": "é 'x'", "decision": decision, "reasons": ({"name": "n"},),
        "expected_param_id": 4, "untested": False, "challenger": challenger,
    } | changes  # fmt: skip
    return ConceptDecision(**values)


def test_what_is_written_is_read(tmp_path: Path):
    """With and without a challenger, tested and untested, with an open window."""
    decisions = [
        decided(Decision.PROMOTED, CHALLENGER),
        decided(Decision.KEPT, untested=True, expected_param_id=None, reasons=()),
    ]
    file = tmp_path / "decisions.json"
    write_decisions(file, decisions, is_repeatable=True)
    assert read_decisions(file) == read_repeatable(file) == decisions
    write_decisions(file, decisions, is_repeatable=False)
    assert read_decisions(file) == decisions
    assert read_repeatable(file) is None


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

"""A night that repeats another reads what that one decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flows import fit_concepts as fitting
from flows.evidence.evidence import read_evidence
from flows.nightly import nightly
from flows.runs.requests import RetrainRequest
from flows.shards.plan import plan_shards

if TYPE_CHECKING:
    from pathlib import Path

    from flows.runs.summary import RunSummary

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server", "sqlite_night")]


def test_a_night_is_judged_once_while_nothing_changes(
    tracked_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its evidence is, table by table, that of a night that judges all of it again."""
    planned: list[str] = []

    def counted(*arguments: object) -> object:
        planned.append("shards")
        return plan_shards(*arguments)

    monkeypatch.setattr(fitting, "plan_shards", counted)
    nightly(RetrainRequest())
    judged = nightly(RetrainRequest())
    folder = tracked_home / "runs" / judged.run_id
    expected = read_evidence(folder)
    assert len(planned) == 2
    read = nightly(RetrainRequest())
    assert (read.status, read.run_id) == ("unchanged", judged.run_id)
    assert len(planned) == 2
    assert _lasting(read) == _lasting(judged)
    found = read_evidence(folder)
    for table in ("concepts", "checks", "curves"):
        assert getattr(found, table).equals(getattr(expected, table))
    assert found.facts.settings == expected.facts.settings
    assert found.facts.scores == expected.facts.scores
    assert found.facts.started_at > expected.facts.started_at
    (folder / "decisions.json").unlink()
    assert _lasting(nightly(RetrainRequest())) == _lasting(judged)
    assert len(planned) == 3


def _lasting(summary: RunSummary) -> dict[str, object]:
    """A summary without what it took."""
    return {name: value for name, value in summary.as_json().items() if name != "seconds"}

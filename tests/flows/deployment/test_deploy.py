"""Runs have names that people read, and people hear of those that end badly."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prefect import flow, runtime
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Failed

from bkt_core.errors import UsageError
from flows.lifecycle import names as run_names
from flows.lifecycle.deployed import deployed, ended
from flows.lifecycle.names import request_subject, run_trigger
from flows.lifecycle.notifications import notify
from flows.operations import backfill_snapshots
from flows.runs.requests import (
    BackfillParamsRequest,
    BackfillSnapshotsRequest,
    MonitorRequest,
    RecomputeRequest,
    RetrainRequest,
    RollbackRequest,
)
from flows.runs.summary import ConceptCounts, RunSummary

if TYPE_CHECKING:
    pass

ROOT = Path(__file__).resolve().parents[3]
SUMMARY = RunSummary(
    run_id="0123456789abcdef",
    status="done",
    mlflow_run_id=None,
    rows={},
    concepts=ConceptCounts(fitted=2, kept=2),
    metrics={},
    states={},
    seconds={},
    exit_code=3,
)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (RetrainRequest(), "2026-11-23"),
        (RetrainRequest(full=True), "2026-11-23 full"),
        (RetrainRequest(since="2026-01-01", until="2026-02-01"), "2026-01-01..2026-02-01"),
        (RetrainRequest(until="2026-02-01", concepts=("a", "b")), "..2026-02-01 a, b"),
        (RetrainRequest(concepts=("a", "b", "c", "d")), "2026-11-23 a, b and 2 more"),
        (
            BackfillParamsRequest(first_day=date(2025, 1, 1), last_day=date(2025, 3, 1)),
            "2025-01-01..2025-03-01",
        ),
        (RecomputeRequest(user="ada"), "one user"),
        (RecomputeRequest(), "2026-11-23"),
        (RollbackRequest(run="0123456789abcdef"), "run 0123456789ab"),
        (RollbackRequest(concepts=("sums",)), "sums"),
        (MonitorRequest(), "2026-11-23"),
    ],
)
def test_a_name_says_what_a_run_is_about(request_: Any, said: str):
    """The window where there is one, else the day; users are not named."""
    assert request_subject(request_, "2026-11-23") == said


@pytest.mark.parametrize(
    ("tags", "deployment", "said"),
    [
        ([], None, "command line"),
        (["bkt"], "some id", "manual"),
        (["auto-scheduled", "bkt"], "some id", "scheduled"),
        (["bkt-service-retrain"], "some id", "service"),
    ],
)
def test_a_name_says_who_started_it(
    monkeypatch: pytest.MonkeyPatch, tags: list[str], deployment: str | None, said: str
):
    now = SimpleNamespace(
        flow_run=SimpleNamespace(tags=tags), deployment=SimpleNamespace(id=deployment)
    )
    monkeypatch.setattr(run_names, "runtime", now)
    assert run_trigger() == said


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_people_hear_of_runs_that_end_badly_and_of_no_other(
    bkt_home: Path,
    heard: tuple[str, list[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
):
    """Failed, crashed, done with exit code 3: told. Completed, or run by hand: not."""
    assert bkt_home.is_dir()
    url, messages = heard
    CustomWebhookNotificationBlock(
        name="test", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
    ).save("operators", overwrite=True)
    monkeypatch.setenv("BKT_PREFECT__NOTIFICATION_BLOCK", "custom-webhook/operators")
    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="nightly x", deployment_id=uuid4())

    @flow(name="nightly")
    def night() -> None:
        """Stands for any flow."""

    notify(night, run, Completed())
    notify(night, run.model_copy(update={"deployment_id": None}), Failed())
    assert messages == []
    notify(night, run, Failed(message="the database went away"))
    notify(night, run, Crashed(message="killed"))
    notify(night, run, ended(SUMMARY))  # type: ignore[arg-type] # a state, as Prefect sees it
    assert [message["subject"] for message in messages] == [
        "bkt: nightly x failed",
        "bkt: nightly x crashed",
        "bkt: nightly x nothing promoted",
    ]
    assert "the database went away" in messages[0]["body"]
    assert "2 kept" in messages[2]["body"]
    assert all("docs/runbook.md" in message["body"] for message in messages)


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("block", ["custom-webhook/nobody", "no-such-type/x"])
def test_a_notification_that_cannot_be_sent_fails_nothing(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch, block: str
):
    """A block that is not there costs a warning; the flow's own outcome stands."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_PREFECT__NOTIFICATION_BLOCK", block)
    names = []

    @deployed("nightly")
    def night(request: RetrainRequest | None = None) -> RunSummary:
        assert request is not None
        names.append(runtime.flow_run.name)
        notify(night, FlowRun(flow_id=uuid4(), deployment_id=uuid4()), Failed())
        return ended(SUMMARY)

    assert night(RetrainRequest(full=True)) == SUMMARY
    today = datetime.now(UTC).date().isoformat()
    assert names == [f"nightly {today} full command line"]


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_what_cannot_be_asked_for_fails_at_once_under_its_name():
    """A form cannot bind two fields; the run that does says what was wrong and has a name."""
    days = BackfillSnapshotsRequest(first_day=date(2026, 2, 1), last_day=date(2026, 1, 1))
    with pytest.raises(UsageError, match="must run forward"):
        backfill_snapshots(days)
    with get_client(sync_client=True) as client:
        named = FlowRunFilter(name=FlowRunFilterName(like_="2026-02-01..2026-01-01"))
        (found,) = client.read_flow_runs(flow_run_filter=named)
    assert found.state is not None
    assert found.state.is_failed()
    assert "must run forward" in str(found.state.message)


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_refusal_is_a_sentence_where_a_server_is_configured(tmp_path: Path):
    """Prefect logs the traceback to its server, and not to the person."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("BKT_")}
    done = subprocess.run(
        [sys.executable, "-m", "flows", "retrain"],
        env=own | {
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "BKT_DATA_DIR": str(tmp_path),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bkt: ")
    assert len(done.stderr.splitlines()) == 1

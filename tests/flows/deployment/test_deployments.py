"""The server holds what prefect.yaml says, and refuses wrong forms before a run exists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from bkt_settings.pipeline import load_settings
from flows.cli.app import run
from flows.deployment.automations import CRASHED_RUNS, DEAD_RUNS, INNER_FLOWS, SILENCE
from flows.deployment.deploy import Report, set_up

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `bkt deploy` reads from the environment: the server, and this checkout."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BKT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
        patch.setenv("PYTHONPATH", str(ROOT))
        path = tmp_path_factory.mktemp("deploy")
        patch.setenv("BKT_DATA_DIR", str(path))
        patch.setenv("BKT_HOME", str(ROOT))
        yield path


@pytest.fixture(scope="module")
def first(home: Path) -> Report:
    """The report of the first `bkt deploy` against a fresh server."""
    assert home.is_dir()
    return set_up(load_settings())


def deploy_again(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `bkt deploy --json` says it did."""
    assert run(["deploy", "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def start(name: str, request: dict[str, Any]) -> str:
    """Ask the server for a run; returns its id."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"request": request}
        )
        client.delete_flow_run(run.id)
        return str(run.id)


def test_one_command_makes_everything_and_repeated_changes_nothing(
    first: Report, capsys: pytest.CaptureFixture[str]
):
    """All of it is made; then neither `bkt deploy` nor `prefect deploy --all` changes it."""
    assert set(first.done.values()) == {"created"}
    assert {name.split()[0] for name in first.done} == {"work", "deployment", "automation"}
    by_prefect = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert by_prefect.returncode == 0, by_prefect.stdout + by_prefect.stderr
    again = deploy_again(capsys)
    assert set(again["done"]) == set(first.done)
    assert (again["changes"], again["left"]) == (0, [])


def test_what_somebody_changed_on_the_server_is_mended_and_named(
    first: Report, capsys: pytest.CaptureFixture[str]
):
    """A cron line and a queue limit go back; pauses and schedules of operators stay."""
    assert first.changes
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("nightly/nightly")
        (weeknights,) = nightly.schedules
        path = f"/deployments/{nightly.id}/schedules"
        other = {"schedule": {"cron": "0 5 * * 0", "timezone": "UTC"}, "active": False}
        client.request("PATCH", f"{path}/{weeknights.id}", json=other)
        own = {"schedule": {"cron": "0 9 1 1 *"}, "parameters": {"request": {"full": True}}}
        client.request("POST", path, json=[own])
        queue = "/work_pools/bkt/queues/exclusive"
        client.request("PATCH", queue, json={"concurrency_limit": 7})
    report = deploy_again(capsys)
    assert {name: what for name, what in report["done"].items() if what != "unchanged"} == {
        "work queue bkt/exclusive": "changed: concurrency limit",
        "deployment nightly/nightly": "changed: schedules",
    }
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name("nightly/nightly").schedules
        assert client.request("GET", queue).json()["concurrency_limit"] == 1
    mended = {one.slug: (one.schedule.cron, one.active) for one in found}
    assert mended == {"weeknights": ("15 2 * * 1-6", False), None: ("0 9 1 1 *", True)}
    assert next(one for one in found if not one.slug).parameters == {"request": {"full": True}}
    assert deploy_again(capsys)["changes"] == 0


def test_the_night_is_cancelled_where_one_runs_and_full_on_sundays(first: Report):
    """Limit 1; every run that writes under the run lock waits in one queue."""
    assert first.changes
    with get_client(sync_client=True) as client:
        found = {one.name: one for one in client.read_deployments() if "bkt" in one.tags}
    nightly = found["nightly"]
    assert nightly.global_concurrency_limit.limit == 1
    assert nightly.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert (nightly.parameters, found["sundays"].parameters) == (
        {"request": {}},
        {"request": {"full": True}},
    )
    assert found["weekly"].concurrency_options.collision_strategy == "ENQUEUE"
    queues = {name: one.work_queue_name for name, one in found.items()}
    beside = {name for name, queue in queues.items() if queue != "exclusive"}
    assert beside == {"trial", "compare", "rollback", "weekly"}
    assert all(one.enforce_parameter_schema and one.description for one in found.values())


@pytest.mark.parametrize(
    ("name", "request_", "complaint"),
    [
        ("nightly/manual", {"engine": "magic"}, "magic"),
        ("nightly/manual", {"since": "yesterday"}, "yesterday"),
        ("nightly/manual", {"until": "2025-13-01T00:00:00Z"}, "2025-13-01"),
        ("nightly/manual", {"seeed": 1}, "seeed"),
        ("backfill-snapshots/backfill-snapshots", {"first_day": "2025-01-01"}, "last_day"),
        (
            "backfill-snapshots/backfill-snapshots",
            {"first_day": "2025-02-30", "last_day": "2025-03-01"},
            "2025-02-30",
        ),
        ("recompute/recompute", {"concepts": "sums"}, "sums"),
        ("rollback/rollback", {"concepts": ["sums"], "to": "0"}, "'0'"),
        ("rollback/rollback", {}, "not valid under any"),
        ("rollback/rollback", {"concepts": []}, "concepts"),
        ("rollback/rollback", {"concepts": ["sums"], "run": "0123"}, "run"),
        ("monitor/weekly", {"full": "maybe"}, "maybe"),
    ],
)
def test_a_wrong_form_is_refused_before_a_run_exists(
    first: Report, name: str, request_: dict[str, Any], complaint: str
):
    """Unknown engines, days that do not exist, misspelt fields: the server says no."""
    assert first.changes
    with pytest.raises(PrefectHTTPStatusError) as refused:
        start(name, request_)
    assert refused.value.response.status_code in (409, 422)
    assert complaint in refused.value.response.text


def test_a_right_form_becomes_a_run(first: Report):
    """The counterpart: the same fields with values that exist."""
    assert first.changes
    assert start("nightly/manual", {"engine": "pybkt", "since": "2025-01-01T00:00:00Z"})
    days = {"first_day": "2025-01-01", "last_day": "2025-01-31", "as_known": True}
    assert start("backfill-snapshots/backfill-snapshots", days)
    for asked in ({"concepts": ["sums"]}, {"run": "0123"}, {"run": "0123", "concepts": []}):
        assert start("rollback/rollback", asked)


def test_dead_runs_of_every_flow_are_watched(first: Report):
    """Silence for several heartbeats, then crashed; nobody is told, as no block is named."""
    assert first.changes
    with get_client(sync_client=True) as client:
        (found,) = client.read_automations_by_name(DEAD_RUNS)
        assert client.read_automations_by_name(CRASHED_RUNS) == []
    watched = set(found.trigger.match_related.root["prefect.resource.name"])
    assert watched >= {"nightly", "monitor", "rollback", *INNER_FLOWS}
    assert found.trigger.within == SILENCE
    ends = {name.removeprefix("prefect.flow-run.") for name in found.trigger.expect}
    assert ends >= {"Completed", "Crashed", "Nothing promoted", "Evidence not delivered"}
    assert [action.type for action in found.actions] == ["change-flow-run-state"]
    assert found.enabled

"""`bkt status`: the counts are the database's, the look fits a terminal, nothing is touched."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING

import httpx
import pytest
from rich.console import Console

from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from datasets.store.params.rollback import roll_back
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, finish_run, start_run
from datasets.store.states.sweep import sweep
from flows.cli.app import run
from flows.cli.operations.status import show_status
from flows.deployment import api as prefect_api
from flows.deployment.api import ask_server
from flows.health.status import gather_status
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

OTHER = BktParams(p_L0=0.2, p_T=0.1, p_S=0.1, p_G=0.2)
USERS = ("ann", "bob", "cleo")
CONCEPTS = ("fractions", "roots", "sums", "angles")
HOUR = timedelta(hours=1)


@pytest.fixture
def busy(engine: Engine, bkt_home: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Four concepts of three users: one refitted since, one rolled back, one without fits."""
    assert bkt_home.is_dir()
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    url = engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    import_rows(
        engine,
        [
            {"user": user, "concept": concept, "key": f"{user} {concept}"}
            for user in USERS
            for concept in CONCEPTS
        ],
    )
    for concept in ("fractions", "roots", "sums"):
        promote(engine, "night-1", concept)
    sweep(engine, at=STARTED)
    promote(engine, "night-2", "fractions", OTHER)  # three states under older parameters
    with engine.begin() as conn:
        start_run(conn, run_id="back", kind="rollback", at=STARTED + 2 * HOUR)
        roll_back(
            conn, run_id="back", concept_id="roots", algo_version_id=1, to_param_id=None,
            at=STARTED + 2 * HOUR, actor="olga",
        )  # fmt: skip
    sweep(engine, at=STARTED, concepts=["roots"])
    import_rows(engine, [{"user": "ann", "concept": "sums", "key": "late", "minutes": 99}])
    with engine.begin() as conn:
        finish_run(
            conn, run_id="night-1", status=RunStatus.DONE, at=STARTED + HOUR,
            manifest={"rows": {"read": 1000, "quarantined": 20}, "reasons": {"no_user": 20}},
            outcome={"concepts": {"promoted": 3, "seen": 4}, "seconds": {"total": 75.5}},
        )  # fmt: skip
        finish_run(conn, run_id="back", status=RunStatus.DONE, at=STARTED + 3 * HOUR)
        start_run(conn, run_id="night-3", kind="retrain", at=STARTED + 4 * HOUR)
        finish_run(
            conn, run_id="night-3", status=RunStatus.FAILED, at=STARTED + 5 * HOUR,
            outcome={"error": "The log broke off.", "exit_code": 1},
        )  # fmt: skip
    return engine


def test_the_counts_are_those_of_the_database(busy: Engine):
    """States by what is the matter with them, concepts by what they are judged by."""
    assert busy.dialect.name in ("sqlite", "postgresql")
    told = gather_status(load_settings(), n_runs=10).as_json()
    assert told["states"] == {
        "total": 12,
        "stale": 1,
        "old_stamped": 3,
        "concepts_outstanding": 2,
    }
    in_force = told["in_force"]
    assert (in_force["concepts"], in_force["fitted"], in_force["at_defaults"]) == (4, 2, 2)
    assert (in_force["pinned"], in_force["algo_version"]) == (1, "v1")
    assert in_force["newest_fit"] == STARTED.isoformat()
    assert told["running"] is None
    assert told["schedule"]["server"] is None
    assert "PREFECT_API_URL" in told["schedule"]["problem"]


def test_runs_are_told_newest_first_with_what_became_of_them(busy: Engine):
    """By what the run counted itself, else by its events; how long it took; what it said."""
    assert busy.dialect.name in ("sqlite", "postgresql")
    told = gather_status(load_settings(), n_runs=3).as_json()["runs"]
    assert [one["run_id"] for one in told] == ["night-3", "back", "night-1"]
    failed, back, night = told
    assert (failed["status"], failed["error"]) == ("failed", "The log broke off.")
    assert (back["concepts"], back["seconds"]) == ({"rolled_back": 1}, 3600.0)
    assert (night["concepts"], night["seconds"]) == ({"promoted": 3}, 75.5)
    assert (night["rows"]["quarantined"], night["reasons"]) == (20, {"no_user": 20})


def test_a_run_that_goes_on_is_named_and_a_dead_one_is_told(busy: Engine):
    """Whoever holds the lock; else the run whose row was never closed."""
    settings = load_settings()
    with run_lock(busy, holder="bkt retrain"):
        assert "bkt retrain" in (gather_status(settings, n_runs=1).holder or "")
    shown = told_at(80)
    assert "run night-2 began and never ended" in " ".join(shown.split())


def told_at(width: int) -> str:
    """The screen of `bkt status`."""
    out = StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, soft_wrap=True)
    show_status(console, gather_status(load_settings(), n_runs=10))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_it_fits_the_terminal(busy: Engine, width: int):
    """No line is longer, and every fact is there."""
    assert busy.dialect.name in ("sqlite", "postgresql")
    lines = told_at(width).splitlines()[1:]  # the first is the address, however long
    assert max(len(line.rstrip()) for line in lines) <= width
    told = " ".join(" ".join(lines).split())
    for fact in (
        "2 of 4 concepts fitted (v1), 2 at the defaults, 1 pinned",
        "12: 1 stale, 3 under older parameters, in 2 concepts",
        "20 of 1,000 rows (2.0%): 20 no_user",
        "run night-3: The log broke off.",
        "1 min 16",
    ):
        assert fact in told, fact


def test_a_fresh_folder_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Nothing is made where nothing is; an initialised folder keeps its files as they are."""
    for name in ("BKT_DATABASE_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "not yet"
    monkeypatch.setenv("BKT_DATA_DIR", str(home))
    assert run(["status"]) == 1
    assert "bkt init" in capsys.readouterr().err
    assert not home.exists()
    assert run(["init"]) == 0
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def deployment(name: str, *, schedules: int, paused: bool = False) -> dict[str, object]:
    """A deployment as the server tells of it."""
    return {
        "id": f"id of {name}",
        "name": name,
        "flow_id": "f",
        "work_pool_name": "bkt",
        "paused": paused,
        "schedules": [{"active": True}] * schedules,
    }


def flow_run(name: str, moment: str, state: str = "Scheduled") -> dict[str, object]:
    """A flow run that waits."""
    return {
        "deployment_id": f"id of {name}",
        "expected_start_time": moment,
        "state": {"name": state},
    }


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, object]], None]:
    """Put canned answers, by path, in the place of a Prefect server."""

    def give(bodies: dict[str, object]) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            path = request.url.path.removeprefix("/api/")
            if path not in bodies:
                return httpx.Response(403)
            return httpx.Response(200, json=bodies[path])

        transport = httpx.MockTransport(answer)
        monkeypatch.setenv("PREFECT_API_URL", "http://ann:hush@127.0.0.1:4200/api")
        monkeypatch.setattr(
            prefect_api,
            "_client",
            lambda url: httpx.Client(base_url=f"{url}/", transport=transport),
        )

    return give


def test_the_schedule_is_the_servers(answers: Callable[[dict[str, object]], None]):
    """The next run of each deployment, late ones, and a schedule that nobody keeps."""
    answers(
        {
            "admin/version": "3.8.8",
            "flows/f": {"name": "nightly"},
            "deployments/filter": [
                deployment("nightly", schedules=1),
                deployment("weekly", schedules=1),
                deployment("manual", schedules=0),
            ],
            "flow_runs/filter": [
                flow_run("manual", "2026-03-01T01:00:00Z", "Late"),
                flow_run("nightly", "2026-03-02T02:15:00Z"),
                flow_run("nightly", "2026-03-03T02:15:00Z"),
            ],
            "work_pools/bkt/workers/filter": [{"status": "ONLINE"}, {"status": "OFFLINE"}],
        }
    )
    found = ask_server()
    assert (found.url, found.version) == ("http://127.0.0.1:4200/api", "3.8.8")
    assert (found.problem, found.workers_online) == (None, 1)
    nightly, weekly, manual = found.planned
    assert nightly.deployment == "nightly/nightly"
    assert nightly.next_at == datetime(2026, 3, 2, 2, 15, tzinfo=UTC)
    assert [one.forgotten for one in found.planned] == [False, True, False]
    assert (weekly.late, manual.late, manual.next_at) == (0, 1, None)


def test_a_server_that_is_away_or_refuses_is_a_sentence(
    answers: Callable[[dict[str, object]], None], monkeypatch: pytest.MonkeyPatch
):
    """Where it is, without who asks, and what it did."""
    answers({"admin/version": "3.8.8"})
    assert "refused with 403" in (ask_server().problem or "")
    monkeypatch.undo()
    monkeypatch.setenv("PREFECT_API_URL", "http://ann:hush@127.0.0.1:9/api")
    said = ask_server().problem or ""
    assert "http://127.0.0.1:9/api does not answer" in said
    assert "hush" not in said


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_real_server_is_understood(monkeypatch: pytest.MonkeyPatch):
    """The paths and the words are those of the Prefect that is installed."""
    import prefect
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    found = ask_server()
    assert (found.problem, found.version) == (None, prefect.__version__)

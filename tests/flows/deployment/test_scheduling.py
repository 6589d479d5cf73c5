"""From a fresh server: one command, a planned night, and a worker that runs one to its end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from datasets.store.connections.engines import make_engine
from datasets.synthetic import SimulationPlan, write_simulation
from tests.flows.support.night_oracle import expected_states, stored_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
#: Seconds for a server to be up, for its scheduler to come round, for a run to end.
PATIENCE = 300
SAVE_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
told = {"subject": "{{subject}}", "body": "{{body}}"}
CustomWebhookNotificationBlock(name="test", url=sys.argv[1], json_data=told).save("operators")
"""


def wait_for(found: Callable[[], Any]) -> Any:
    """What is there in the end; a test does not wait for ever."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            value = found()
        except httpx.HTTPError:
            value = None
        if value:
            return value
        assert time.monotonic() < until, "waited in vain"
        time.sleep(1)


def planned_run(
    api: httpx.Client, deployment: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """A run of a deployment, as the server answers; while SQLite is locked it refuses."""

    def made() -> dict[str, Any] | None:
        answer = api.post(f"{deployment}/create_flow_run", json={"parameters": parameters})
        return answer.json() if answer.is_success else None

    found: dict[str, Any] = wait_for(made)
    return found


def _weekday(run: dict[str, Any]) -> int:
    return datetime.fromisoformat(run["expected_start_time"]).isoweekday()


@contextmanager
def running(words: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    """A process of this environment, ended with all that it started."""
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_loading_a_deployment_hides_no_package():
    """With flows/ on sys.path our requests.py would stand in the place of `requests`."""
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    code = (
        "from prefect.flows import load_flow_from_entrypoint as load\n"
        f"names = [load(one).name for one in {[one['entrypoint'] for one in entries]}]\n"
        "import requests.adapters, json; print(json.dumps(names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"nightly", "backfill-params", "rollback"} <= set(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.harness
def test_a_server_plans_nights_and_a_worker_runs_one(
    tmp_path: Path,
    migrated_tracking_store: Path,
    heard: tuple[str, list[dict[str, str]]],
):
    """The scheduler inserts runs, the full one on Sundays; a run ends with its evidence.

    People hear of a run that crashed, and not of one that was done.
    """
    hook, messages = heard
    home = tmp_path / "var"
    home.mkdir()
    shutil.copy(migrated_tracking_store, home / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BKT_", "PREFECT_"))
    }
    env = inherited | {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "DO_NOT_TRACK": "true",
        "BKT_DATA_DIR": str(home),
        "BKT_FIT__STARTS": "2",
        "BKT_PREFECT__NOTIFICATION_BLOCK": "custom-webhook/operators",
        "PYTHONPATH": str(ROOT),
    }

    def bkt(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows", *words],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    write_simulation(home / "a.parquet", SimulationPlan(n_concepts=3, n_users=40, seed=4))
    bkt("init")
    bkt("import", str(home / "a.parquet"))
    server = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(server, env, tmp_path / "server.log"), httpx.Client(timeout=20) as api:
        wait_for(lambda: api.get(f"{url}/health").status_code == 200)
        save = subprocess.run(
            [sys.executable, "-c", SAVE_BLOCK, hook], env=env, check=False, timeout=PATIENCE
        )
        assert save.returncode == 0
        assert json.loads(bkt("deploy", "--json"))["changes"] > 0

        def planned() -> list[dict[str, Any]]:
            asked = {"deployments": {"name": {"any_": ["nightly", "sundays"]}}, "limit": 200}
            runs: list[dict[str, Any]] = api.post(f"{url}/flow_runs/filter", json=asked).json()
            days = {_weekday(run) for run in runs}
            return runs if {7} < days else []

        nights = wait_for(planned)
        assert all("auto-scheduled" in night["tags"] for night in nights)
        fulls = {
            _weekday(night): bool(night["parameters"]["request"].get("full"))
            for night in nights
        }
        assert fulls == {day: day == 7 for day in fulls}
        deployment = api.get(f"{url}/deployments/name/nightly/manual").json()["id"]
        begun = planned_run(api, f"{url}/deployments/{deployment}", {"request": {}})
        worker = ["prefect", "worker", "start", "--pool", "bkt", "--run-once"]
        with running(worker, env, tmp_path / "worker.log"):
            ended = wait_for(
                lambda: (
                    found
                    if (found := api.get(f"{url}/flow_runs/{begun['id']}").json())["state_type"]
                    in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
                    else None
                )
            )
        other = api.get(f"{url}/deployments/name/recompute/recompute").json()["id"]
        killed = planned_run(api, f"{url}/deployments/{other}", {})
        crashed = {"state": {"type": "CRASHED", "message": "It was killed."}, "force": True}
        api.post(f"{url}/flow_runs/{killed['id']}/set_state", json=crashed).raise_for_status()
        wait_for(lambda: messages)
    assert [told["subject"] for told in messages] == [f"bkt: {killed['name']} crashed"]
    assert "It was killed." in messages[0]["body"]
    assert (ended["state_name"], ended["name"].split()[-1]) == ("Completed", "manual")
    engine = make_engine(f"sqlite:///{home / 'bkt.db'}")
    assert stored_states(engine) == expected_states(engine)
    engine.dispose()
    told = json.loads(bkt("report", "--json"))
    assert told is not None

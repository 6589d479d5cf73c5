"""Starting and following work: child processes, and a Prefect server by its HTTP API."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx
import pytest

from serving.launcher import (
    Command,
    LaunchRefusedError,
    Order,
    ProcessLauncher,
    Status,
    TooManyLaunchesError,
    arguments,
)
from serving.prefect_launcher import LauncherByCommand, PrefectLauncher
from tests.serving.calling import FakeLauncher

RETRAIN = Order(Command.RETRAIN, (("concept", "a"), ("concept", "b"), ("full", True)))
#: Stands for `bkt`: tells its arguments as the run id, or does as it is told.
TELL = "import json, sys; print(json.dumps({'run_id': ' '.join(sys.argv[1:])}))"
FAIL = "import sys; sys.stderr.write('bkt: locked by another run'); sys.exit(5)"
SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); "
    "time.sleep(60)"
)


#: Starts a process of its own, as a retrain starts a Prefect server, and tells its number.
LEAVE_BEHIND = """
import json, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(json.dumps({"run_id": str(other.pid)}), flush=True)
time.sleep(SECONDS)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def ended(launcher, launch_id):
    while (launch := await launcher.follow(launch_id)).status is Status.RUNNING:
        await asyncio.sleep(0.02)
    return launch


def test_a_child_that_ends_well_tells_its_run():
    async def run():
        launcher = ProcessLauncher(max_children=1, command=python(TELL))
        started = await launcher.launch(RETRAIN)
        assert (started.status, started.via) == (Status.RUNNING, "process")
        return await ended(launcher, started.launch_id)

    launch = asyncio.run(run())
    assert (launch.status, launch.exit_code) == (Status.DONE, 0)
    assert launch.run_id == "retrain --concept=a --concept=b --full --json"


def test_a_child_that_fails_tells_why():
    async def run():
        launcher = ProcessLauncher(max_children=1, command=python(FAIL))
        return await ended(launcher, (await launcher.launch(RETRAIN)).launch_id)

    launch = asyncio.run(run())
    assert (launch.status, launch.exit_code, launch.run_id) == (Status.FAILED, 5, None)
    assert launch.detail == "bkt: locked by another run"


def test_only_so_many_children_run_at_once_and_they_end_with_the_service():
    async def run():
        launcher = ProcessLauncher(max_children=2, command=python(SLEEP))
        first = await launcher.launch(RETRAIN)
        await launcher.launch(RETRAIN)
        with pytest.raises(TooManyLaunchesError):
            await launcher.launch(RETRAIN)
        await launcher.close()
        return await launcher.follow(first.launch_id)

    launch = asyncio.run(run())
    assert launch.status is Status.FAILED
    assert launch.exit_code < 0


def test_a_child_that_will_not_end_is_made_to(monkeypatch):
    monkeypatch.setattr("serving.launcher.END_SECONDS", 0.2)

    async def run():
        launcher = ProcessLauncher(max_children=1, command=python(STUBBORN))
        launch = await launcher.launch(RETRAIN)
        await asyncio.sleep(0.5)
        await launcher.close()
        return await launcher.follow(launch.launch_id)

    assert asyncio.run(run()).status is Status.FAILED


def leaving_behind(*, seconds: int) -> list[str]:
    return python(LEAVE_BEHIND.replace("SECONDS", str(seconds)))


def assert_gone(pid: int) -> None:
    until = time.monotonic() + 5
    stat = Path(f"/proc/{pid}/stat")
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}:
        assert time.monotonic() < until, f"process {pid} must end"
        time.sleep(0.02)


@pytest.mark.timeout(30)
def test_what_a_child_started_ends_with_it():
    """A retrain starts a Prefect server: it must neither outlive the service nor hold it up."""

    async def run():
        launcher = ProcessLauncher(max_children=1, command=leaving_behind(seconds=60))
        launch = await launcher.launch(RETRAIN)
        await asyncio.sleep(1)
        await asyncio.wait_for(launcher.close(), timeout=5)
        return await launcher.follow(launch.launch_id)

    launch = asyncio.run(run())
    assert launch.status is Status.FAILED
    assert_gone(int(launch.run_id))


@pytest.mark.timeout(30)
def test_a_child_has_ended_when_it_has_though_what_it_started_runs_on():
    """Else a retrain that was killed would be told as running for ever, and hold its place."""

    async def run():
        launcher = ProcessLauncher(max_children=1, command=leaving_behind(seconds=0))
        launch = await launcher.launch(RETRAIN)
        return await asyncio.wait_for(ended(launcher, launch.launch_id), timeout=10)

    launch = asyncio.run(run())
    assert (launch.status, launch.exit_code) == (Status.DONE, 0)
    assert_gone(int(launch.run_id))


def test_what_was_not_launched_here_is_not_known():
    assert asyncio.run(ProcessLauncher(max_children=1).follow("another")) is None


def test_a_flag_that_is_true_has_no_value():
    assert arguments(Order(Command.ROLLBACK, (("release", True), ("run", "r")))) == [
        "rollback", "--release", "--run=r", "--json",
    ]  # fmt: skip


class FakePrefect:
    """As much of Prefect's API as the launcher uses."""

    ID = "6f2c1f8e-4a52-4b7b-9d5e-0d6f3f1c2a10"

    def __init__(self) -> None:
        self.created: list[dict[str, object]] = []
        self.state = "SCHEDULED"
        self.headers: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.headers.append(request.headers.get("authorization"))
        path = request.url.path
        if path == "/api/deployments/name/nightly/manual":
            return httpx.Response(200, json={"id": "d1"})
        if path == "/api/deployments/d1/create_flow_run":
            self.created.append(json.loads(request.content))
            return httpx.Response(201, json=self._run())
        if path == f"/api/flow_runs/{self.ID}":
            return httpx.Response(200, json=self._run())
        return httpx.Response(404, json={"detail": "not found"})

    def _run(self) -> dict[str, object]:
        tags = self.created[-1]["tags"]
        return {
            "id": self.ID,
            "name": "quick-fox",
            "created": "2026-03-01T02:00:00.000000Z",
            "state": {"type": self.state, "message": None},
            "tags": tags,
        }


def prefect(server, names=None):
    return PrefectLauncher(
        "http://127.0.0.1:4200/api",
        names or {Command.RETRAIN: "nightly/manual"},
        api_key="secret",
        transport=httpx.MockTransport(server),
    )


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("SCHEDULED", Status.RUNNING),
        ("RUNNING", Status.RUNNING),
        ("COMPLETED", Status.DONE),
        ("FAILED", Status.FAILED),
        ("CRASHED", Status.FAILED),
        ("CANCELLED", Status.FAILED),
    ],
)
def test_a_flow_run_is_created_and_followed(state, status):
    server = FakePrefect()

    async def run():
        launcher = prefect(server)
        launch = await launcher.launch(RETRAIN)
        server.state = state
        try:
            return launch, await launcher.follow(launch.launch_id)
        finally:
            await launcher.close()

    launch, followed = asyncio.run(run())
    assert launch.status is Status.RUNNING
    assert (followed.status, followed.command) == (status, Command.RETRAIN)
    assert server.created[0]["parameters"] == {
        "request": {"concepts": ["a", "b"], "full": True}
    }
    assert set(server.headers) == {"Bearer secret"}


def test_a_deployment_or_a_server_that_is_not_there_is_a_refusal():
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async def run(server, names):
        launcher = prefect(server, names)
        try:
            await launcher.launch(RETRAIN)
        finally:
            await launcher.close()

    with pytest.raises(LaunchRefusedError, match="404"):
        asyncio.run(run(FakePrefect(), {Command.RETRAIN: "nightly/none"}))
    with pytest.raises(LaunchRefusedError, match="PREFECT_API_URL"):
        asyncio.run(run(away, None))


def test_commands_without_a_deployment_run_as_child_processes():
    process, server = FakeLauncher(), FakePrefect()

    async def run():
        both = LauncherByCommand(prefect(server), process, frozenset({Command.RETRAIN}))
        vias = [(await both.launch(order)).via for order in (RETRAIN, Order(Command.ROLLBACK))]
        known = [await both.follow(i) for i in ("launch-0", FakePrefect.ID, "no id")]
        await both.close()
        return vias, [launch is not None for launch in known]

    assert asyncio.run(run()) == (["prefect", "process"], [True, True, False])
    assert process.closed

"""A run's own Prefect server: it ends with its run, however that ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from datasets.store.connections.engines import make_engine
from flows.cli.app import run

pytestmark = [pytest.mark.slow, pytest.mark.harness]

BKT = str(Path(sys.executable).with_name("bkt"))
ENDINGS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: What a night with nothing new does not need.
LARGE = ("mlflow", "alembic", "sklearn", "prefect.server.api.server", "uvicorn")
#: Seconds within which nothing of a run may be left.
GONE_WITHIN = 10.0
#: Seconds for what is waited for, on a machine that is busy with other things.
PATIENCE = 120.0


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a small log; runs over it have servers of their own."""
    monkeypatch.setenv("BKT_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("BKT_FIT__STARTS", "2")
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "BKT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    log = str(tmp_path / "attempts.parquet")
    for words in (
        ["init"],
        ["simulate", log, "--users", "20", "--concepts", "2"],
        ["import", log],
    ):
        assert run(words) == 0
    return tmp_path / "var"


def processes_over(home: Path) -> list[int]:
    """Processes, but this one, that were started over a data folder."""
    sign = f"BKT_DATA_DIR={home}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                started_with = (entry / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended, or is not ours
                continue
            if sign in started_with:
                found.append(int(entry.name))
    return found


def wait_until(holds: object, seconds: float = PATIENCE) -> bool:
    give_up_at = time.monotonic() + seconds
    while not holds():  # type: ignore[operator] # a function without arguments
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


def started(home: Path) -> subprocess.Popen[bytes]:
    """A night in a session of its own, as of a terminal."""
    with (home / "said").open("wb") as said:
        return subprocess.Popen(
            [BKT, "retrain", "--full"],
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )


def ended_by(night: subprocess.Popen[bytes], home: Path, number: signal.Signals) -> str:
    """Send a signal as a terminal would, to all of the run's session; what the run said."""
    os.killpg(night.pid, number)
    assert wait_until(lambda: night.poll() is not None)
    assert wait_until(lambda: not processes_over(home), GONE_WITHIN), processes_over(home)
    return (home / "said").read_text()


@pytest.mark.parametrize("number", ENDINGS, ids=lambda number: number.name)
def test_nothing_is_left_of_a_run_that_a_signal_ended(own_home: Path, number: signal.Signals):
    """It says what ended it where it can, and its exit code is that of the shell's."""
    night = started(own_home)
    assert wait_until(lambda: len(processes_over(own_home)) > 1)
    told = ended_by(night, own_home, number)
    if number == signal.SIGKILL:
        assert (night.returncode, told) == (-9, "")
    elif number == signal.SIGINT:
        assert night.returncode in (130, -2)  # the second before Python runs our code
    else:
        assert night.returncode == 128 + number
        assert told == (
            f"bkt: ended by {number.name}; what was committed stays; run the command again "
            "to resume.\n"
        )


SIGNALLED_WHILE_FORKING = """
import os, signal, sys
from pathlib import Path
from flows.deployment.own_server import start_own_server

def ended(number, frame):
    raise SystemExit("the handler of the run")

signal.signal(signal.SIGTERM, ended)
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
server = start_own_server(Path(sys.argv[1]))
sys.exit(os.WTERMSIG(os.waitpid(server.pid, 0)[1]))
"""


def test_a_signal_that_comes_while_the_server_is_forked_ends_it(tmp_path: Path):
    """It does not run the handlers of the run there, whose process it is a copy of."""
    command = [sys.executable, "-c", SIGNALLED_WHILE_FORKING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (signal.SIGTERM, "")


@pytest.mark.full_size
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("number", ENDINGS, ids=lambda number: number.name)
def test_nothing_is_left_at_ten_moments_of_a_night(own_home: Path, number: signal.Signals):
    """Ended at each tenth of its time; the night after them all ends as it should."""
    began = time.monotonic()
    assert started(own_home).wait() in (0, 3)
    lasts = time.monotonic() - began
    for tenth in range(10):
        night = started(own_home)
        time.sleep(lasts * (tenth + 0.5) / 10)
        ended_by(night, own_home, number)
    assert started(own_home).wait() in (0, 3)
    with make_engine(f"sqlite:///{own_home}/bkt.db").connect() as conn:
        left = conn.execute(text("SELECT count(*) FROM bkt_run WHERE status = 'running'"))
        assert left.scalar_one() == 0


def test_a_server_that_cannot_start_is_told(own_home: Path):
    """Where its log is, and what to do; the run does not wait for it."""
    (own_home / "prefect" / "prefect.db").mkdir(parents=True)
    night = started(own_home)
    assert wait_until(lambda: night.poll() is not None)
    assert night.returncode == 1
    told = (own_home / "said").read_text()
    assert "The Prefect server of this run did not start (exit code" in told
    assert str(own_home / "prefect" / "server.log") in told
    assert "unable to open database file" in (own_home / "prefect" / "server.log").read_text()
    assert "Traceback" not in told
    assert not processes_over(own_home)


def test_a_night_with_nothing_new_imports_little_and_lets_go_of_its_output(own_home: Path):
    """The server holds no end of a pipe: who reads the output of a run sees its end."""
    assert run_to_end([BKT, "retrain", "--json"]).returncode in (0, 3)
    look = (
        "import sys; from flows.cli.app import run; code = run(['retrain', '--json']); "
        f"print([name for name in {LARGE} if name in sys.modules]); sys.exit(code)"
    )
    again = run_to_end([sys.executable, "-c", look])
    summary, loaded = again.stdout.splitlines()
    assert json.loads(summary)["status"] == "unchanged"
    assert loaded == "[]"
    assert not processes_over(own_home)
    assert (own_home / "prefect" / "server.log").read_text() == ""


def run_to_end(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and read all that it says."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False
    )

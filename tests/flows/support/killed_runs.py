"""A process that forks runs, kills some of them at one place each, and lets the next go on.

`python -m tests.flows.support.killed_runs PLAN`: imports once, then forks for every run, so
that a kill costs a second and not the imports. Nothing but imports happens before a fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.deployment.home import stay_offline

stay_offline()

from bkt_core.judgement.warm_up import compile_kernels  # noqa: E402 - likewise
from bkt_settings.pipeline import load_settings  # noqa: E402
from datasets.extracts import extraction as extract  # noqa: E402
from datasets.extracts import shards as extract_shards  # noqa: E402
from datasets.store.connections.fault_points import FAULT_POINTS, install_harness  # noqa: E402
from flows import backfill_params, fit_concepts, promote_params  # noqa: E402
from flows.lifecycle import close as close_run  # noqa: E402
from flows.nightly import nightly  # noqa: E402
from flows.runs.requests import BackfillParamsRequest, RetrainRequest  # noqa: E402
from flows.shards import works as shard_works  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

#: Runs beside each other.
AT_ONCE = 2
#: Only these places need MLflow, which takes most of a small run; the others go on without.
LOGGED = ("log:", "close:", "backfill:")
NOBODY = "http://127.0.0.1:9"


def die(*_arguments: object, **_named: object) -> None:
    """As the power going off."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(module: Any, name: str, *, number: int = 1, after: bool = False) -> None:
    """Die before (or after) the so manyeth call of a function."""
    work: Callable[..., Any] = getattr(module, name)
    calls: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) < number:
            return work(*arguments, **named)
        if after:
            work(*arguments, **named)
        return die()

    setattr(module, name, counted)


def at_point(point: str, number: int) -> None:
    """Die at a fault point of the store, when it is reached the so manyeth time."""
    assert point in FAULT_POINTS
    reached: list[int] = []

    def harness(name: str) -> None:
        reached.extend([1] * (name == point))
        if len(reached) == number:
            die()

    install_harness(harness)


#: Where a run dies, in the order of its stages.
PLACES: dict[str, Callable[[], None]] = {
    "extract: files written, not kept": lambda: at_call(extract, "keep"),
    "extract: kept, the run without a name": lambda: at_call(extract, "keep", after=True),
    "fit: between two shards": lambda: at_call(shard_works, "write_json", number=3),
    "gate: judged, no decisions": lambda: at_call(fit_concepts, "write_decisions"),
    "log: in MLflow, nothing switched": lambda: at_call(fit_concepts, "log_run", after=True),
    "promote: inside the second batch": lambda: at_point("switch: deactivated", 2),
    "recompute: between two chunks": lambda: at_point("sweep: chunk committed", 2),
    "snapshot: rows written": lambda: at_point("snapshot: rows written", 1),
    "close: all but the end of its row": lambda: at_call(close_run, "finish_run"),
    "backfill: in the second step": lambda: at_call(
        backfill_params, "link_session", number=2, after=True
    ),
}


def run_one(kind: str, home: str, *, is_logged: bool) -> None:
    """One run of a kind, over the data folder and the database in it."""
    os.environ["BKT_DATA_DIR"] = home
    os.environ["BKT_DATABASE_URL"] = f"sqlite:///{home}/bkt.db"
    if not is_logged:
        os.environ["BKT_MLFLOW_TRACKING_URI"] = NOBODY
    extract_shards.SHARD_ROWS = 1
    promote_params.WINNERS_AT_ONCE = 2
    if kind == "backfill":
        backfill_params.backfill_params(
            BackfillParamsRequest(first_day="2026-01-06", last_day="2026-01-20", promote=True)
        )
    else:
        nightly(RetrainRequest())


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own; returns its exit code, below zero for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - this process ends here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def case(place: str | None, kind: str, home: str, out: Path) -> None:
    """Kill a run at its place, run again, and write down how both ended."""
    codes, is_logged = [], (place or "").startswith(LOGGED)
    if place is not None:

        def killed() -> None:
            PLACES[place]()
            run_one(kind, home, is_logged=is_logged)

        codes.append(forked(killed))
    codes.append(forked(lambda: run_one(kind, home, is_logged=is_logged)))
    out.write_text(json.dumps(codes))


def warm_up() -> None:
    """What every run would import and compile by itself; none of it starts a thread."""
    import mlflow.pyfunc  # noqa: TID251 - only imported
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401, TID251 - only imported
    from matplotlib import figure  # noqa: F401

    settings = load_settings(data_dir=Path(sys.argv[1]).parent)
    compile_kernels(settings.fit.engine, settings.gates)


def main() -> None:
    """Every case of the plan, a few beside each other."""
    warm_up()
    waiting = json.loads(Path(sys.argv[1]).read_text())
    running = 0
    for entry in waiting:
        if running == AT_ONCE:
            os.wait()
            running -= 1
        if os.fork() == 0:
            case(entry["place"], entry["kind"], entry["home"], Path(entry["out"]))
            os._exit(0)
        running += 1
    while running:
        os.wait()
        running -= 1


if __name__ == "__main__":
    main()

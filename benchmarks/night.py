"""A whole night on PostgreSQL beside the floor of its parts, measured in the same run.

`python -m benchmarks.night` makes 10 million attempts of 500 concepts and a million states,
runs a night over them in a process of its own, then the least that any such night must do:
COPY of the attempts out, COPY of the states and of the snapshot rows in, the kernels on arrays
in memory. Then one per cent of new attempts, which the online service has applied, and the next
night. Seconds begin after the imports of Prefect and MLflow. Their server and store were there
before, as in production (conf/production.toml): a night of its own server begins 20 s later.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data.border import measured
from benchmarks.data.night import AT, SEED, add_one_percent, fill
from benchmarks.parts.night_floor import Spent, measure_floor
from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from flows.deployment.home import settle_prefect, stay_offline
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres_server import PostgresServer

BARS = {"night": 3.0, "peak MiB": 2_048.0, "1 % night": 0.15, "1 % process": 0.30}


def main() -> int:
    """Measure, print the table, and return how many bars were missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _night_child()
    folder = Path(tempfile.mkdtemp(prefix="bkt-night-"))
    try:
        with (
            prefect_server() as api,
            postgres_server(shared_buffers="1GB", max_wal_size="8GB") as server,
        ):
            os.environ["PREFECT_API_URL"] = api
            return _measure_all(server, folder, options.concepts, options.states)
    finally:
        shutil.rmtree(folder)


@contextmanager
def prefect_server() -> Iterator[str]:
    """The address of a Prefect server on loopback."""
    stay_offline()
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield str(PREFECT_API_URL.value())


def _measure_all(server: PostgresServer, folder: Path, n_concepts: int, n_states: int) -> int:
    url = server.new_database()
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=AT)
    concepts = fill(engine, url, n_concepts, n_states)
    n_attempts = sum(one.n_attempts for one in concepts)
    print(
        f"PostgreSQL {server.version()}, {os.cpu_count()} cores, seed {SEED}: "
        f"{n_attempts:,} attempts, {n_concepts} concepts, {n_states:,} states"
    )
    full, full_told = spent_in_child(server, url, folder)
    floor = measure_floor(server, engine, url, folder, concepts)
    show_night(full, full_told, floor)
    add_one_percent(engine, url)
    _, second_told = spent_in_child(server, url, folder)
    engine.dispose()
    return show_bars(full_told, floor, second_told)


def spent_in_child(
    server: PostgresServer, url: str, folder: Path
) -> tuple[Spent, dict[str, Any]]:
    """A night in a process of its own, and what it told."""
    told: dict[str, Any] = {}

    def run() -> None:
        env = os.environ | {
            "BKT_DATABASE_URL": url,
            "BKT_DATA_DIR": str(folder / "var"),
        }
        command = [sys.executable, "-m", "benchmarks.night", "--child"]
        began = time.perf_counter()
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
        told.update(json.loads(done.stdout.splitlines()[-1]))
        told["process"] = time.perf_counter() - began

    served = measured(run, server).server
    return Spent(told["wall"], told["cpu"] + served), told


def _night_child() -> int:
    """A night; prints its seconds without the imports, its CPU and the peak of its memory."""
    before_imports = time.perf_counter()
    settings = load_settings()
    settle_prefect(settings)
    from mlflow.tracking import MlflowClient  # noqa: TID251 - a store that was there before

    from flows.nightly import nightly
    from flows.runs.requests import RetrainRequest

    MlflowClient(settings.tracking_uri).search_experiments()
    imports = time.perf_counter() - before_imports
    cpu_imports, began = _cpu(), time.perf_counter()
    summary = nightly(RetrainRequest())
    wall = time.perf_counter() - began
    told = {
        "wall": wall,
        "cpu": _cpu() - cpu_imports,
        "imports": imports,
        "seconds": summary.seconds,
        "status": summary.status,
        "concepts": asdict(summary.concepts),
        "states": summary.states,
        "peak": _peak_mib(),
    }
    print(json.dumps(told, default=str))
    return 0


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _peak_mib() -> float:
    """`VmHWM` of this process; `ru_maxrss` would begin with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = next(line for line in lines if line.startswith("VmHWM"))
    return int(found.split()[1]) / 1024


def show_night(full: Spent, told: dict[str, Any], floor: dict[str, Spent]) -> None:
    """Seconds per stage beside the floor's."""
    print(f"{'stage':12}{'night s':>9}{'floor s':>9}{'floor CPU-s':>12}")
    for stage, seconds in told["seconds"].items():
        least = floor.get(stage)
        beside = f"{least.wall:9.1f}{least.cpu:12.1f}" if least else ""
        print(f"{stage:12}{seconds:9.1f}{beside}")
    parts = tuple(floor.values())
    wall, cpu = sum(part.wall for part in parts), sum(part.cpu for part in parts)
    print(f"{'all':12}{full.wall:9.1f}{wall:9.1f}{cpu:12.1f}, the night {full.cpu:.1f} CPU-s")
    print(f"night: {told['status']}, {told['concepts']}, {told['states']}")
    print(f"left out: {told['imports']:.1f} s of imports")


def show_bars(full: dict[str, Any], floor: dict[str, Spent], second: dict[str, Any]) -> int:
    """The figures against their bars."""
    print(f"1 % night: {second['status']}, {second['states']}, seconds {second['seconds']}")
    rows = {
        "night": full["wall"] / sum(part.wall for part in floor.values()),
        "peak MiB": max(full["peak"], second["peak"]),
        "1 % night": work(second) / work(full),
        "1 % process": second["process"] / full["process"],
    }
    missed = 0
    for name, found in rows.items():
        verdict = "ok" if found <= BARS[name] else "MISSED"
        missed += verdict == "MISSED"
        print(f"{name:14}{found:10.2f}  bar {BARS[name]:g}  {verdict}")
    return missed


def work(told: dict[str, Any]) -> float:
    """Seconds of the stages themselves, without compiling and starting."""
    return sum(
        float(seconds)
        for stage, seconds in told["seconds"].items()
        if stage not in ("compile", "total")
    )


if __name__ == "__main__":
    sys.exit(main())

"""Peak memory of a night's extraction, sweep and snapshots, at two numbers of states.

As many attempts and users both times, spread over more concepts the second time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from benchmarks.data.states import fill_log, initialised, promote_all
from datasets.extracts.extraction import ExtractOptions, extract_attempts
from datasets.sequences.staged_states import StagedStates
from datasets.store.connections.engines import make_engine
from datasets.store.states.outstanding import states_to_sweep
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres_server import PostgresServer

T = TypeVar("T")

#: MiB by which the peak may differ between the two.
NOISE_MIB = 32.0
N_USERS, PER_KEY = 50_000, 4
STAGES = ("extract", "sweep", "snapshot")


def bench_memory(server: PostgresServer, n_states: int, chunk: int) -> int:
    """A night at a quarter of the states and at all of them, each in a fresh process."""
    found = [_peaks(server, n_states // 4, PER_KEY, chunk), _peaks(server, n_states, 1, chunk)]
    missed = 0
    for stage in STAGES:
        few, many = (peaks[stage] for peaks in found)
        print(
            f"memory above start, {stage}: {few:.0f} MiB at {n_states // 4:,} states, "
            f"{many:.0f} MiB at {n_states:,} (limit {NOISE_MIB:.0f} MiB more)"
        )
        missed += many > few + NOISE_MIB
    return missed


def _peaks(server: PostgresServer, n_states: int, per_key: int, chunk: int) -> dict[str, float]:
    url = server.new_database()
    engine = initialised(url)
    n_concepts = max(n_states // N_USERS, 1)
    fill_log(engine, n_users=n_states // n_concepts, n_concepts=n_concepts, per_key=per_key)
    engine.dispose()
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                sys.executable, "-m", "benchmarks.states", "--night", url, folder,
                "--chunk", str(chunk),
            ],
            check=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def night_in_this_process(url: str, folder: str, chunk: int) -> int:
    """Extract, sweep and snapshot; prints MiB above the start, by stage."""
    engine, at = make_engine(url), datetime.now(UTC)
    peaks = {}
    peaks["extract"], extract = _peak_of(
        lambda: extract_attempts(engine, Path(folder), at=at, options=ExtractOptions(full=True))
    )
    params = promote_all(engine, "night", extract.concepts["concept_id"].to_pylist())

    def sweep_all() -> None:
        stage = StagedStates(extract, params)
        result = sweep(
            engine,
            at=at,
            concepts=stage.in_order(states_to_sweep(engine)),
            run_id="night",
            staged=stage.of_concept,
            staged_chunk=chunk,
        )
        assert result.replayed == 0

    peaks["sweep"], _ = _peak_of(sweep_all)
    peaks["snapshot"], _ = _peak_of(lambda: write_snapshots(engine, run_id="night", at=at))
    print(json.dumps(peaks))
    return 0


def _peak_of(work: Callable[[], T]) -> tuple[float, T]:
    """MiB that a piece of work needs at its peak above what was there before it."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here
    before = _memory("VmRSS")
    value = work()
    return _memory("VmHWM") - before, value


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) / 1024

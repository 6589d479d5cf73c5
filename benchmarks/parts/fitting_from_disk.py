"""From a Parquet file of eight million attempts to parameters, in a process of its own.

`python -m benchmarks.parts.fitting_from_disk FILE` prints seconds and memory as JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data.fitting import fold_sets, simulated_concepts
from bkt_core import AttemptSequences
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.options import FitOptions


def write(concepts: list[AttemptSequences], path: Path) -> None:
    """The attempts in no order, with integer ids: what a log costs more is in `night.py`."""
    lengths = [one.lengths for one in concepts]
    concept = np.repeat(np.arange(len(concepts)), [one.n_attempts for one in concepts])
    user = np.concatenate([np.repeat(np.arange(n.size), n) for n in lengths])
    shuffled = np.random.default_rng(0).permutation(concept.size)
    second = np.sort(np.random.default_rng(1).integers(0, 2**31, concept.size))
    columns = {
        "concept": concept.astype(np.int32),
        "user": user.astype(np.int32),
        "second": second,
        "correct": np.concatenate([one.correct for one in concepts]),
    }
    pq.write_table(pa.table({k: v[shuffled] for k, v in columns.items()}), path)


def read(path: Path) -> list[AttemptSequences]:
    """Sorted by one integer that holds concept, user, time and outcome."""
    file = pq.ParquetFile(path)
    keys = np.empty(file.metadata.num_rows, dtype=np.uint64)
    n = 0
    for batch in file.iter_batches(1 << 20):
        concept, user, second, correct = (column.to_numpy() for column in batch.columns)
        part = keys[n : n + batch.num_rows]
        part[:] = concept
        for bits, column in ((20, user), (31, second), (1, correct)):
            part <<= np.uint64(bits)
            part |= column.astype(np.uint64)
        n += batch.num_rows
    keys.sort()
    correct = (keys & np.uint64(1)).astype(np.int8)
    keys >>= np.uint64(32)
    heads = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [keys.size]])
    concept = (keys[heads[:-1]] >> np.uint64(20)).astype(np.int64)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(concept)) + 1, [concept.size]])
    return [
        AttemptSequences(
            correct=correct[heads[a] : heads[b]],
            offsets=(heads[a : b + 1] - heads[a]).astype(np.int64),
        )
        for a, b in itertools.pairwise(cuts)
    ]


def peak_mib() -> float:
    """The most memory this process has had since it was started (Linux).

    Not `ru_maxrss`: a child takes over that of the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(path: Path) -> None:
    """Read, sort, fit; the interpreter, its modules and compiled code come first."""
    engine = EmEngine(n_threads=1)
    for small in simulated_concepts(2, 50, seed=0)[0]:
        engine.fit(small, fold_sets(50), FitOptions())
    own = peak_mib()
    start = time.perf_counter()
    concepts = read(path)
    sorted_at = time.perf_counter()
    for sequences in concepts:
        engine.fit(sequences, fold_sets(sequences.n_users), FitOptions())
    print(
        json.dumps(
            {
                "n_attempts": sum(one.n_attempts for one in concepts),
                "read": sorted_at - start,
                "total": time.perf_counter() - start,
                "mib": peak_mib() - own,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The border's table: extraction against the database's own export, each pair in one run.

`python -m benchmarks.border` takes about ten minutes on two cores; `--rows` makes it smaller.
CPU seconds are those of this process and of every process of the server.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.data.border import (
    adbc_to_parquet,
    add_one_percent,
    attempt_file,
    copy_to_file,
    measured,
    postgres_log,
    sqlite_log,
)
from datasets.extracts.extraction import Extract, ExtractOptions, extract_attempts
from datasets.imports.file_import import ImportOptions, import_file
from datasets.sequences.readers import shard_sequences
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FULL = ExtractOptions(full=True)
REPEATS = 3


def main() -> int:
    """Measure, print the table, and return how many bars were missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--child", nargs=2, metavar=("URL", "DIR_OR_FILE"))
    arguments = parser.parse_args()
    if arguments.child:
        return _memory_child(*arguments.child)
    folder = Path(tempfile.mkdtemp(prefix="bkt-border-"))
    settings = {"fsync": "off", "max_wal_size": "4GB", "shared_buffers": "256MB"}
    try:
        with postgres_server(**settings) as server:
            missed = _measure_all(server, folder, arguments.rows)
    finally:
        shutil.rmtree(folder)
    return missed


def _measure_all(server: PostgresServer, folder: Path, n_rows: int) -> int:
    print(f"{n_rows:,} attempts, one concept with a third of them; medians of {REPEATS}")
    missed = 0
    for uuid, bar in ((True, 0.40), (False, 0.27)):
        url = postgres_log(server, n_rows=n_rows, uuid=uuid)
        name = "UUID ids" if uuid else "short ids"
        missed += _against_copy(server, url, folder, name, n_rows, bar)
        if uuid:
            missed += _sequences(url, folder)
            missed += _incremental(server, url, folder)
    missed += _against_plain_stream(folder, n_rows * 2 // 5)
    for factor in (1, 4):
        missed += _memory(server, folder, n_rows * factor)
    missed += _import_memory(server, folder, n_rows // 10)
    print(f"{missed} bars missed")
    return missed


def _extract(url: str, folder: Path, options: ExtractOptions = FULL) -> Extract:
    engine = make_engine(url)
    try:
        return extract_attempts(engine, folder / "data", at=NOW, options=options)
    finally:
        engine.dispose()


def _against_copy(
    server: PostgresServer, url: str, folder: Path, name: str, n_rows: int, bar: float
) -> int:
    _extract(url, folder)  # compiled and imported
    ratios = []
    for _ in range(REPEATS):
        copied = measured(lambda: copy_to_file(server, url, folder / "copy.bin"), server)
        ours = measured(lambda: _extract(url, folder), server)
        ratios.append(copied.total / ours.total)
        print(
            f"  {name}: copy {n_rows / copied.total / 1e6:.2f}M rows per CPU-s (client "
            f"{copied.client:.1f} s, server {copied.server:.1f} s), ours "
            f"{n_rows / ours.total / 1e6:.2f}M ({ours.client:.1f} s, {ours.server:.1f} s)"
        )
    (folder / "copy.bin").unlink()
    return _line(
        f"PostgreSQL, {name}, of \\copy's rows per CPU-s", median(ratios), bar, above=True
    )


def _sequences(url: str, folder: Path) -> int:
    extract = _extract(url, folder)
    times = []
    for _ in range(REPEATS):
        read = measured(lambda: _read_all(extract))
        times.append(read.client / extract.rows.accepted * 1e9)
    return _line("shards to packed sequences, ns a row", median(times), 60.0, above=False)


def _read_all(extract: Extract) -> int:
    return sum(
        concept.sequences.n_attempts
        for shard in range(len(extract.shards))
        for concept in shard_sequences(extract, shard)
    )


def _incremental(server: PostgresServer, url: str, folder: Path) -> int:
    full = measured(lambda: _extract(url, folder), server)
    shares = []
    for _ in range(2):
        add_one_percent(url)
        beside = measured(lambda: _extract(url, folder, ExtractOptions()), server)
        shares.append(beside.total / full.total)
    print(f"  1 % and 2 % new: {shares[0]:.1%} and {shares[1]:.1%} of a full extraction")
    return _line("1 % new attempts, of a full extraction's CPU", shares[0], 0.10, above=False)


def _against_plain_stream(folder: Path, n_rows: int) -> int:
    path = folder / "log.db"
    url = sqlite_log(path, n_rows=n_rows)
    _extract(url, folder)
    ratios = []
    for _ in range(REPEATS):
        plain = measured(lambda: adbc_to_parquet(path, folder / "plain.parquet"))
        ours = measured(lambda: _extract(url, folder))
        ratios.append(plain.total / ours.total)
        print(
            f"  SQLite, {n_rows:,}: plain {n_rows / plain.total / 1e6:.2f}M rows per CPU-s, "
            f"ours {n_rows / ours.total / 1e6:.2f}M"
        )
    return _line("SQLite, of a plain ADBC stream's rows", median(ratios), 0.7, above=True)


def _memory(server: PostgresServer, folder: Path, n_rows: int) -> int:
    url = postgres_log(server, n_rows=n_rows, uuid=True)
    child = folder / "child"
    child.mkdir()
    peak, _ = _child(url, child)
    shutil.rmtree(child)
    return _line(f"{n_rows:,} rows, peak memory, MiB", peak, 1536.0, above=False)


def _import_memory(server: PostgresServer, folder: Path, n_rows: int) -> int:
    """What a row more of a file costs in memory, from the peaks at n and at four n rows."""
    peaks = []
    for n in (n_rows, 4 * n_rows):
        file = attempt_file(folder / "attempts.parquet", n_rows=n)
        peak, seconds = _child(_empty_database(server), file)
        print(f"  import of {n:,} rows: peak {peak:,.0f} MiB, {seconds / n * 1e6:.1f} us a row")
        peaks.append(peak)
    bytes_a_row = (peaks[1] - peaks[0]) * 2**20 / (3 * n_rows)
    return _line(
        "import of a file, bytes of peak memory a row", bytes_a_row, 200.0, above=False
    )


def _empty_database(server: PostgresServer) -> str:
    url = server.new_database()
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=NOW)
    engine.dispose()
    return url


def _child(url: str, what: Path) -> tuple[float, float]:
    """Peak memory (MiB) and CPU seconds of one extraction, or import, in a fresh process."""
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.border", "--child", url, str(what)],
        check=True,
        capture_output=True,
        text=True,
    )
    peak, seconds = (float(word) for word in child.stdout.split()[-2:])
    return peak, seconds


def _memory_child(url: str, what: str) -> int:
    path, began = Path(what), time.process_time()
    if path.is_file():
        engine = make_engine(url)
        rows = import_file(
            engine, path, ImportOptions(), quarantine_root=path.parent / "q", at=NOW
        ).rows
        engine.dispose()
    else:
        rows = _extract(url, path).rows
    print(rows.accepted, _peak_mib(), time.process_time() - began)
    return 0


def _peak_mib() -> float:
    """Peak memory of this program alone; `ru_maxrss` would inherit the parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _line(name: str, value: float, bar: float, *, above: bool) -> int:
    held = value >= bar if above else value <= bar
    sign = ">=" if above else "<="
    verdict = "held" if held else "MISSED"
    print(f"{name:<58} {value:10.3f}   {sign} {bar:<8g} {verdict}", flush=True)
    return not held


if __name__ == "__main__":
    sys.exit(main())

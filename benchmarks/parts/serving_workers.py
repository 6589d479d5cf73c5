"""The service with one to four workers, beside pgbench running the same statements.

`make bench-workers`. Eight clients over loopback; users are drawn evenly, or a tenth of the
requests goes to one of three hot users. In each round pgbench and every number of workers run
in turn, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import make_url

from benchmarks import serving
from benchmarks.parts.http_load import Measured, get, load, post
from benchmarks.parts.pgbench import Bench, run_pgbench, script_of, statements_of_an_update
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = (1, 2, 4)
#: Share of requests of hot users, and how many of these there are.
HOT_SHARE, HOT_USERS = 0.1, 3
#: Share of reads in the mixed load.
READS = 0.5


def main() -> int:
    """Measure and print the table."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--seconds", type=int, default=4)
    options = asked.parse_args()
    with postgres_server() as server:
        url = server.new_database()
        engine = make_engine(url)
        upgrade(engine)
        with engine.begin() as conn:
            seed(conn, at=datetime.now(UTC))
        keys = serving._keys()
        with running(url, 1) as port:
            asyncio.run(serving._first_attempts(port, serving._token("service"), keys))
        script = script_of(
            statements_of_an_update(engine), users=serving.USERS, concepts=serving.CONCEPTS
        )
        engine.dispose()
        raw: list[Bench] = []
        table: dict[tuple[int, str], Measured] = {}
        for _ in range(options.rounds):
            raw.append(
                run_pgbench(
                    server.binaries / "pgbench", server.folder, str(make_url(url).database),
                    script, clients=serving.CLIENTS, seconds=options.seconds,
                )
            )  # fmt: skip
            for workers in WORKERS:
                with running(url, workers) as port:
                    for kind, request in kinds(keys).items():
                        asyncio.run(load(port, request, clients=serving.CLIENTS, seconds=1.0))
                        found = asyncio.run(
                            load(
                                port,
                                request,
                                clients=serving.CLIENTS,
                                seconds=float(options.seconds),
                            )
                        )
                        table.setdefault((workers, kind), Measured()).add(found)
        print(f"PostgreSQL {server.version()}, {serving.CLIENTS} clients, loopback")
    return report(raw, table)


class running:  # noqa: N801 - a context manager, as a function would be
    """The service with so many workers, ready."""

    def __init__(self, url: str, workers: int) -> None:
        self._port = serving._free_port()
        own = {"BKT_DATABASE_URL": url, "BKT_SERVING__TOKEN_KEYS": json.dumps([serving.KEY])}
        program = (
            "import uvicorn; uvicorn.run('serving.app:create_app', factory=True, "
            f"port={self._port}, log_level='warning', access_log=False, workers={workers})"
        )
        self._child = subprocess.Popen([sys.executable, "-c", program], env=os.environ | own)

    def __enter__(self) -> int:
        serving._wait_ready(self._port)
        return self._port

    def __exit__(self, *_error: object) -> None:
        self._child.terminate()
        self._child.wait(timeout=30)


def kinds(keys: Iterator[str]) -> dict[str, Callable[[], bytes]]:
    """The three loads: updates, updates with hot users, half reads and half updates."""
    rng, token = np.random.default_rng(7), serving._token("service")

    def update_of(user: int) -> bytes:
        concept = f"concept-{rng.integers(serving.CONCEPTS)}"
        body = serving._attempt(f"user-{user}", concept, next(keys), rng)
        return post(f"{serving.ROOT}/attempts", token, body)

    def update() -> bytes:
        return update_of(int(rng.integers(serving.USERS)))

    def hot() -> bytes:
        among = HOT_USERS if rng.random() < HOT_SHARE else serving.USERS
        return update_of(int(rng.integers(among)))

    def mixed() -> bytes:
        if rng.random() < READS:
            user = rng.integers(serving.USERS)
            return get(f"{serving.ROOT}/mastery?user_id=user-{user}", token)
        return update()

    return {"update": update, "hot users": hot, "half reads": mixed}


def report(raw: list[Bench], table: dict[tuple[int, str], Measured]) -> int:
    """Print one line for pgbench and for each load; exit 1 if a request failed."""
    per_second = sum(one.per_second for one in raw) / len(raw)
    every = Bench(per_second, sorted(ms for one in raw for ms in one.latencies_ms))
    print(
        f"{'workers':>7}  {'load':11}{'per s':>8}{'of pgbench':>12}{'p50 ms':>9}{'p99 ms':>9}"
    )
    print(
        f"{'-':>7}  {'pgbench':11}{per_second:8.0f}{1:12.2f}"
        f"{every.quantile_ms(0.5):9.2f}{every.quantile_ms(0.99):9.2f}"
    )
    for (workers, kind), found in sorted(table.items()):
        print(
            f"{workers:7}  {kind:11}{found.per_second:8.0f}"
            f"{found.per_second / per_second:12.2f}"
            f"{found.quantile_ms(0.5):9.2f}{found.quantile_ms(0.99):9.2f}"
        )
    failures = [failure for found in table.values() for failure in found.failures]
    for failure in failures[:1]:
        print(failure.decode(errors="replace"), file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())

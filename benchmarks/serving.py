"""How fast the service is on PostgreSQL, beside a bare route in the same process and run.

`make bench-serving`. One worker; the load comes from this process over loopback. The bare route
does one `SELECT … FOR UPDATE` and one `UPDATE` through the same kind of session. Exit 1 if an
update reaches less than `LEAST_SHARE` of its throughput.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import jwt
import numpy as np
from fastapi import Request, Response
from sqlalchemy import select, update

from benchmarks.parts.http_load import Measured, get, load, post, send_all
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from datasets.store.schema.tables import MasteryStateRow
from serving.app import create_app
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI
    from sqlalchemy.ext.asyncio import AsyncSession

LEAST_SHARE = 0.35
CLIENTS = 8
ROUNDS = 4
SECONDS = 4.0
USERS, CONCEPTS = 500, 10
START_SECONDS = 60.0
#: Share of right answers.
RIGHT = 0.6
KEY = "a key of the benchmark, at least 32 bytes"
ROOT = "/v1/learning/bkt"


def bench_app() -> FastAPI:
    """The service with the bare route beside its own; uvicorn calls this in the child."""
    app = create_app()
    database = app.state.service.database

    @app.post("/bare", include_in_schema=False)
    async def bare(request: Request) -> Response:
        key = (
            MasteryStateRow.concept_id == request.query_params["concept_id"],
            MasteryStateRow.user_id == request.query_params["user_id"],
        )

        async def work(session: AsyncSession) -> float:
            locked = await session.execute(
                select(MasteryStateRow.p_mastery).where(*key).with_for_update()
            )
            p_mastery = locked.scalar_one()
            await session.execute(
                update(MasteryStateRow)
                .where(*key)
                .values(version=MasteryStateRow.version + 1)
                .execution_options(synchronize_session=False)
            )
            return p_mastery

        p_mastery = await database.write(work)
        return Response(json.dumps({"p_mastery": p_mastery}), media_type="application/json")

    return app


def main() -> int:
    """Run the three loads in turn, several rounds, and print the table."""
    with postgres_server() as server:
        url = server.new_database()
        engine = make_engine(url)
        upgrade(engine)
        with engine.begin() as conn:
            seed(conn, at=datetime.now(UTC))
        engine.dispose()
        port = _free_port()
        child = _service(url, port)
        try:
            _wait_ready(port)
            table = asyncio.run(_measure(port))
        finally:
            child.terminate()
            child.wait(timeout=30)
        print(f"PostgreSQL {server.version()}, one worker, {CLIENTS} clients, loopback")
    return _report(table)


async def _measure(port: int) -> dict[str, Measured]:
    rng = np.random.default_rng(7)
    service = _token("service")
    keys = _keys()
    await _first_attempts(port, service, keys)

    def pick() -> tuple[str, str]:
        return f"user-{rng.integers(USERS)}", f"concept-{rng.integers(CONCEPTS)}"

    def bare() -> bytes:
        user, concept = pick()
        return post(f"/bare?user_id={user}&concept_id={concept}", service, b"")

    def one_update() -> bytes:
        user, concept = pick()
        return post(f"{ROOT}/attempts", service, _attempt(user, concept, next(keys), rng))

    def read() -> bytes:
        user, _ = pick()
        return get(f"{ROOT}/mastery?user_id={user}", service)

    kinds: dict[str, Callable[[], bytes]] = {"bare": bare, "update": one_update, "read": read}
    table = {kind: Measured() for kind in kinds}
    for request in kinds.values():  # warm
        await load(port, request, clients=CLIENTS, seconds=1.0)
    for _ in range(ROUNDS):
        for kind, request in kinds.items():
            table[kind].add(await load(port, request, clients=CLIENTS, seconds=SECONDS))
    return table


async def _first_attempts(port: int, token: str, keys: Iterator[str]) -> None:
    """One attempt of each user at each concept, so that states are there."""
    rng = np.random.default_rng(1)
    todo = [
        post(
            f"{ROOT}/attempts/batch",
            token,
            json.dumps(
                {
                    "user_id": f"user-{user}",
                    "attempts": [
                        {
                            "concept_id": f"concept-{concept}",
                            "correct": bool(rng.random() < RIGHT),
                            "idempotency_key": next(keys),
                        }
                        for concept in range(CONCEPTS)
                    ],
                }
            ).encode(),
        )
        for user in range(USERS)
    ]
    filled = await send_all(port, todo)
    assert not filled.failures, filled.failures[0]


def _attempt(user: str, concept: str, key: str, rng: np.random.Generator) -> bytes:
    body = {
        "user_id": user,
        "concept_id": concept,
        "question_id": f"question-{rng.integers(1000)}",
        "correct": bool(rng.random() < RIGHT),
        "idempotency_key": key,
    }
    return json.dumps(body).encode()


def _keys() -> Iterator[str]:
    return (f"load-{n}" for n in count())


def _token(role: str) -> str:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    claims = {"sub": "load", "role": role, "exp": int(expires_at.timestamp())}
    return jwt.encode(claims, KEY, algorithm="HS256")


def _service(url: str, port: int) -> subprocess.Popen[bytes]:
    own = {"BKT_DATABASE_URL": url, "BKT_SERVING__TOKEN_KEYS": json.dumps([KEY])}
    command = (
        "import uvicorn; uvicorn.run('benchmarks.serving:bench_app', factory=True, "
        f"port={port}, log_level='warning', access_log=False, proxy_headers=False)"
    )
    return subprocess.Popen([sys.executable, "-c", command], env=os.environ | own)


def _wait_ready(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _report(table: dict[str, Measured]) -> int:
    print(f"{'':8}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'requests':>10}{'failed':>8}")
    for kind, found in table.items():
        print(
            f"{kind:8}{found.per_second:12.0f}{found.quantile_ms(0.5):9.2f}"
            f"{found.quantile_ms(0.99):9.2f}{len(found.latencies):10}{len(found.failures):8}"
        )
    share = table["update"].per_second / table["bare"].per_second
    print(f"update / bare: {share:.2f} (at least {LEAST_SHARE})")
    failed = any(found.failures for found in table.values())
    for found in table.values():
        for failure in found.failures[:1]:
            print(failure.decode(errors="replace"), file=sys.stderr)
    return int(failed or share < LEAST_SHARE)


if __name__ == "__main__":
    sys.exit(main())

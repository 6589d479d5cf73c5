"""A database that goes away: 503, nothing acknowledged is lost, and the service recovers."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from datasets.store.connections.engines import make_engine, reading
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from datasets.store.states.sweep import sweep
from tests.datasets.store.oracle import expected_states, stored_states
from tests.postgres_server import PostgresServer, postgres_server
from tests.serving.calling import ROOT, attempt, bearer
from tests.serving.running import requests_of, send_from_clients, served
from tests.serving.test_replay import attempts_of

#: Seconds until the service must answer again, once its database does.
RECOVERY_SECONDS = 20


@pytest.mark.slow
@pytest.mark.postgres
def test_postgresql_killed_and_started_again(tmp_path, new_postgres_database):
    """`kill -9` of the server, twice, under load; clients repeat what was refused."""
    del new_postgres_database  # where no server can be had, that fixture skips or fails
    with postgres_server() as server:  # fsync on: what is acknowledged survives
        url = migrated(server)
        rng = np.random.default_rng(3)
        attempts = attempts_of(800, rng)
        ended = threading.Event()

        def crash() -> None:
            for _ in range(2):
                if ended.wait(1.5):
                    return
                server.kill()
                time.sleep(1.0)
                server.start()

        with served(url, tmp_path) as port:
            crashing = threading.Thread(target=crash)
            crashing.start()
            requests = requests_of(attempts, rng)
            sent = asyncio.run(send_from_clients(port, requests, clients=4))
            ended.set()
            crashing.join()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
                assert http.get("/ready").status_code == 200
                assert "bkt_database_up 1.0" in http.get("/metrics").text
        engine = make_engine(url)
        sweep(engine, at=datetime.now(UTC))
        with reading(engine) as conn:
            keys = set(conn.execute(text("SELECT idempotency_key FROM attempts")).scalars())
            assert stored_states(conn) == expected_states(conn)
        engine.dispose()
    assert sent.refused.get(503, 0) > 0, "the database was never away"
    assert set(sent.refused) == {503}
    assert keys == sent.acknowledged == {one["idempotency_key"] for one in attempts}


@pytest.mark.slow
@pytest.mark.postgres
def test_a_service_that_starts_before_its_database(tmp_path, new_postgres_database):
    """Alive, not ready; ready as soon as the database is there."""
    del new_postgres_database
    with postgres_server(fsync="off") as server:
        url = migrated(server)
        server.stop()
        with (
            served(url, tmp_path) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer()) as http,
        ):
            away = http.post(f"{ROOT}/attempts", json=attempt("k"))
            assert away.status_code == 503
            assert int(away.headers["Retry-After"]) > 0
            assert http.get("/ready").status_code == 503
            assert http.get("/health").status_code == 200
            server.start()
            until = time.monotonic() + RECOVERY_SECONDS
            while http.post(f"{ROOT}/attempts", json=attempt("k")).status_code != 200:
                assert time.monotonic() < until
                time.sleep(0.1)


def migrated(server: PostgresServer) -> str:
    """The URL of a database as `bkt init` leaves it."""
    url = server.new_database()
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=datetime.now(UTC))
    engine.dispose()
    return url

"""Replay equality: whatever happens beside the service, every state equals its replay."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.store.connections.engines import reading
from datasets.store.states.sweep import sweep
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import promote
from tests.serving.calling import ROOT, bearer
from tests.serving.running import (
    BKT,
    Sent,
    requests_of,
    send_from_clients,
    served,
    service_environment,
)

log = logging.getLogger(__name__)

CLIENTS = 6
#: Parts of the requests with a promotion beside each, and seconds that one may take.
PORTIONS, PATIENCE = 12, 60
USERS, CONCEPTS = 50, 6
#: Share of attempts that claim to be up to an hour older than those before them.
LATE = 0.2
BEGAN = datetime(2026, 2, 1, tzinfo=UTC)


def attempts_of(n: int, rng: np.random.Generator) -> list[dict]:
    """Attempts of users who learn, so that a fit finds parameters worth promoting."""
    knows: dict[tuple[int, int], bool] = {}
    attempts = []
    for i in range(n):
        user, concept = int(rng.integers(USERS)), int(rng.integers(CONCEPTS))
        known = knows.setdefault((user, concept), rng.random() < 0.2)
        correct = rng.random() < (0.9 if known else 0.2)
        knows[user, concept] = known or rng.random() < 0.15
        moment = BEGAN + timedelta(seconds=i)
        if rng.random() < LATE:
            moment -= timedelta(seconds=int(rng.integers(3600)))
        attempts.append(
            {
                "user_id": f"user-{user}",
                "concept_id": f"concept-{concept}",
                "question_id": f"question-{int(rng.integers(30))}",
                "correct": correct,
                "idempotency_key": f"key-{i}",
                "attempted_at": moment.isoformat(),
                "create_snapshot": rng.random() < 0.02,
            }
        )
    return attempts


class Promoter(threading.Thread):
    """Promotes random parameters again and again, and sweeps, until it is told to stop."""

    def __init__(self, engine, *, seed: int, pause: float) -> None:
        super().__init__()
        self.engine, self.rng = engine, np.random.default_rng(seed)
        self.pause = pause  # seconds between two promotions
        self.promoted = self.swept = 0
        self.failure: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        """Go on until `done`."""
        try:
            while not self.done.is_set():
                self._promote()
                if self.promoted % 5 == 0:
                    self.swept += sweep(self.engine, at=datetime.now(UTC)).written
                self.done.wait(self.pause)
        except BaseException as failure:  # noqa: BLE001 - told to the test, which fails by it
            self.failure = failure

    def _promote(self) -> None:
        u = self.rng.uniform
        params = BktParams(
            p_L0=u(0.01, 0.5), p_T=u(0.01, 0.4), p_S=u(0.01, 0.3), p_G=u(0.01, 0.3)
        )
        concept = f"concept-{self.rng.integers(CONCEPTS)}"
        self.promoted += promote(self.engine, uuid4().hex, concept, params).promoted


async def send_beside(promoter: Promoter, port: int, requests: list[bytes]) -> Sent:
    """Send in portions, with a promotion within or after each, however fast they are."""
    sent = Sent()
    for portion in range(PORTIONS):
        before = promoter.promoted
        part = requests[portion::PORTIONS]
        await send_from_clients(port, part, clients=CLIENTS, sent=sent)
        until = time.monotonic() + PATIENCE
        while promoter.promoted == before and promoter.failure is None:
            assert time.monotonic() < until, "no promotion came through"
            await asyncio.sleep(0.01)
    return sent


def assert_all_stored_and_equal_to_their_replay(engine, sent, n):
    """After a last sweep; nothing acknowledged is lost, nothing is stored twice."""
    assert len(sent.acknowledged) == n
    sweep(engine, at=datetime.now(UTC))
    with reading(engine) as conn:
        keys = set(conn.execute(text("SELECT idempotency_key FROM attempts")).scalars())
        assert keys == sent.acknowledged
        stored, expected = stored_states(conn), expected_states(conn)
    wrong = {key: (stored.get(key), e) for key, e in expected.items() if stored.get(key) != e}
    assert not wrong, (len(wrong), dict(list(wrong.items())[:3]))
    assert len(stored) == len(expected)
    return stored


def assert_reads_equal_the_replay(engine, port):
    """What the API reads before any sweep is already the replay under what is in force."""
    with reading(engine) as conn:
        expected = expected_states(conn)
    by_user: dict[str, dict[str, tuple[float, int]]] = {}
    for (user, concept), (p_mastery, n, _) in expected.items():
        by_user.setdefault(user, {})[concept] = (p_mastery, n)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer()) as http:
        for user, states in by_user.items():
            told = http.get(f"{ROOT}/mastery", params={"user_id": user}).json()["states"]
            assert {s["concept_id"]: (s["p_mastery"], s["n_attempts"]) for s in told} == states


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("n", "pause"),
    [
        pytest.param(300, 0.02, marks=pytest.mark.slow),
        pytest.param(10_000, 0.25, marks=pytest.mark.full_size),
    ],
)
def test_states_equal_their_replay_while_parameters_are_promoted(
    engine, database_url, tmp_path, n, pause
):
    rng = np.random.default_rng(n)
    attempts = attempts_of(n, rng)
    requests = requests_of(attempts, rng)
    with served(database_url, tmp_path) as port:
        promoter = Promoter(engine, seed=n, pause=pause)
        promoter.start()
        try:
            sent = asyncio.run(send_beside(promoter, port, requests))
        finally:
            promoter.done.set()
            promoter.join()
        assert promoter.failure is None
        assert_reads_equal_the_replay(engine, port)
        assert_all_stored_and_equal_to_their_replay(engine, sent, n)
    log.info(
        "%d duplicates, %d promotions, %d states swept, refused %s",
        sent.duplicates,
        promoter.promoted,
        promoter.swept,
        sent.refused,
    )
    assert sent.duplicates > n * 0.02
    assert promoter.promoted >= PORTIONS
    assert set(sent.refused) <= {503}


@pytest.mark.full_size
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("n", [10_000])
def test_states_equal_their_replay_while_bkt_retrain_runs(engine, database_url, tmp_path, n):
    """Attempts by several clients, `bkt retrain` as often as it ends beside them."""
    rng = np.random.default_rng(5)
    attempts = attempts_of(n, rng)
    environment = service_environment(database_url, tmp_path)
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "300"
    codes: list[int] = []
    promoted: list[int] = []
    complaints: list[bytes] = []
    done = threading.Event()

    def retrain() -> None:
        while not done.is_set():
            run = subprocess.run(
                [BKT, "retrain", "--full", "--json"],
                env=environment, cwd=tmp_path, check=False, capture_output=True,
            )  # fmt: skip
            codes.append(run.returncode)
            complaints.append(run.stderr[-2000:])
            if run.returncode == 0:
                promoted.append(json.loads(run.stdout)["concepts"]["promoted"])

    with served(database_url, tmp_path) as port:
        first, rest = attempts[: n // 2], attempts[n // 2 :]
        sent = asyncio.run(send_from_clients(port, requests_of(first, rng), clients=CLIENTS))
        nights = threading.Thread(target=retrain)
        nights.start()
        try:
            beside = send_from_clients(port, requests_of(rest, rng), clients=CLIENTS, sent=sent)
            asyncio.run(beside)
        finally:
            done.set()
            nights.join()
        assert_reads_equal_the_replay(engine, port)
        stored = assert_all_stored_and_equal_to_their_replay(engine, sent, n)
    log.info("bkt retrain ended with %s, promoted %s", codes, promoted)
    assert 0 in codes, complaints
    assert set(codes) <= {0, 3}
    assert any(param_id is not None for _, _, param_id in stored.values())

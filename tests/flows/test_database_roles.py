"""The whole chain under the roles of docs/roles.sql, each step with an account of its own."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import polars as pl
import psycopg
import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker

from datasets.store.connections.engines import make_async_engine, make_engine
from datasets.synthetic import SimulationPlan, write_simulation
from flows.cli.app import run
from flows.nightly import nightly
from serving import update_from_attempt
from tests.datasets.store.schema.test_roles import SCRIPT, login
from tests.flows.support.night_oracle import expected_states, stored_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = [
    pytest.mark.harness,
    pytest.mark.postgres,
    pytest.mark.usefixtures("prefect_server"),
]

ROLES = ("migration", "import", "extraction", "promotion", "service", "erasure")


@pytest.fixture
def owner(
    new_postgres_database: Callable[[], str],
    tracked_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Engine]:
    """A database as its superuser made it: migrated, then given its roles."""
    assert tracked_home.is_dir()
    url = new_postgres_database()
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    assert run(["init"]) == 0
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(SCRIPT)  # type: ignore[call-overload] # a file of ours
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def as_role(owner: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Connect as an account of one role from here on; returns its URL."""
    url = owner.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with ExitStack() as stack:
        accounts = {role: stack.enter_context(login(url, role)) for role in ROLES}

        def become(role: str) -> str:
            monkeypatch.setenv("BKT_DATABASE_URL", accounts[role])
            return accounts[role]

        monkeypatch.setenv("BKT_EXTRACTION_URL", accounts["extraction"])
        yield become


async def answer_once(url: str) -> None:
    """One attempt through the service's layer, in a transaction of its own."""
    engine = make_async_engine(url)
    try:
        async with async_sessionmaker(engine)() as session, session.begin():
            await update_from_attempt(
                session, "user-00001", None, "concept-001", correct=True,
                idempotency_key="one", create_snapshot=True,
            )  # fmt: skip
    finally:
        await engine.dispose()


def test_every_step_has_the_rights_that_it_needs(
    owner: Engine, as_role: Callable[[str], str], tracked_home: Path
):
    """Migrate, import, correct, two nights around the service, go back, look, erase, prune."""
    as_role("migration")
    assert run(["init"]) == 0
    as_role("import")
    log = tracked_home / "attempts.parquet"
    write_simulation(log, SimulationPlan(n_concepts=4, n_users=60, seed=4))
    assert run(["import", str(log)]) == 0
    as_role("promotion")
    first = nightly()
    assert (first.status, first.exit_code) == ("done", 0)
    assert first.concepts.promoted >= 2
    assert stored_states(owner) == expected_states(owner)
    asyncio.run(answer_once(as_role("service")))
    as_role("import")
    turned = pl.read_parquet(log).with_columns(correct=1 - pl.col("correct"))
    turned.write_parquet(log)
    assert run(["import", str(log), "--corrections"]) == 0
    assert run(["stamp"]) == 0
    as_role("promotion")
    assert nightly().status == "done"
    day = turned["attempted_at"].max().date().isoformat()
    for words in (
        ["rollback", "--concept", "concept-001"],
        ["recompute"],
        ["monitor"],
        ["backfill", "snapshots", "--from", day, "--to", day],
    ):
        assert run(words) == 0, words
    as_role("extraction")
    for words in (["status"], ["params"], ["mastery", "user-00001"], ["doctor"]):
        assert run(words) in (0, 1), words  # the suite's server is not durable: a fault
    as_role("erasure")
    user = turned["user_id"][0]
    assert run(["erase", user]) == 0
    assert run(["prune"]) == 0
    assert not [key for key in stored_states(owner) if key[0] == user]
    assert stored_states(owner) == expected_states(owner)


def test_the_wrong_account_is_told_so_in_a_sentence(
    as_role: Callable[[str], str], capsys: pytest.CaptureFixture[str]
):
    """What was refused, and where the roles are described; no traceback."""
    as_role("extraction")
    assert run(["recompute"]) == 1
    said = capsys.readouterr().err
    assert "permission denied for table bkt_run" in said
    assert "docs/roles.sql" in said
    assert "unexpected" not in said

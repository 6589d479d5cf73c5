"""A switch whose commit has an unknown outcome is looked up, never assumed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from bkt_core.evaluation.checks import Decision
from datasets.store.connections.engines import make_engine, reading
from datasets.store.connections.locks import lock_concepts_shared
from datasets.store.errors import RunLockLostError
from datasets.store.params.events import history
from datasets.store.params.skill_params import params_of_run
from datasets.store.params.switching import Switch, SwitchRequest, switch_many
from datasets.store.runs.runs import start_run
from flows.evidence.decisions import ConceptDecision
from flows.promote_params import promote_batch
from flows.runs.plan import RunPlan
from tests.datasets.store.writing import challenger
from tests.moments import STARTED

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

pytestmark = pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)

DECIDED = ConceptDecision(
    concept_id="fractions",
    decision=Decision.PROMOTED,
    reasons=(),
    expected_param_id=None,
    untested=False,
    challenger=challenger(),
)


@pytest.fixture
def plan(engine: Engine, tmp_path: Path) -> RunPlan:
    """A run that has begun."""
    with engine.begin() as conn:
        start_run(conn, run_id="run-1", kind="retrain", at=STARTED)
    return RunPlan(
        run_id="run-1", kind="retrain", identity="same", started_at=STARTED, resumed=False,
        extract_root=tmp_path, run_dir=tmp_path, fits_dir=tmp_path, algo_version="v1",
        algo_version_id=1, since=None, until=None, concepts=(), approve=(), engine="em", seed=1,
        settings_digest="", full=False, dry_run=False,
    )  # fmt: skip


def cut_at_commit(engine: Engine, *, after: bool, times: int) -> Engine:
    """An engine whose connection is cut at COMMIT: before the server has it, or just after."""
    fragile = make_engine(engine.url.render_as_string(hide_password=False))
    cuts: list[int] = []

    def cut(conn: Connection) -> None:
        if len(cuts) == times:
            return
        driver = conn.connection.driver_connection
        cuts.append(driver.info.backend_pid)
        if after:
            driver.commit()
            driver.execute("SELECT 1")  # so that there is a commit left to fail
        with engine.begin() as other:
            gone = text("SELECT pg_terminate_backend(:pid, 5000)")
            assert other.execute(gone, {"pid": cuts[-1]}).scalar_one()

    event.listen(fragile, "commit", cut)
    return fragile


@pytest.mark.parametrize(
    ("after", "came"), [(True, Switch.ALREADY_DONE), (False, Switch.PROMOTED)]
)
def test_a_switch_cut_at_its_commit_is_done_exactly_once(
    engine: Engine, plan: RunPlan, after: bool, came: Switch
):
    fragile = cut_at_commit(engine, after=after, times=1)
    assert promote_batch(fragile, plan, [DECIDED], lambda: None) == {"fractions": came}
    fragile.dispose()
    with reading(engine) as conn:
        assert list(params_of_run(conn, "run-1")) == ["fractions"]
        assert len(history(conn, "fractions")) == 1


def test_a_switch_that_is_always_cut_gives_up(engine: Engine, plan: RunPlan):
    fragile = cut_at_commit(engine, after=False, times=3)
    with pytest.raises(DBAPIError):
        promote_batch(fragile, plan, [DECIDED], lambda: None)
    fragile.dispose()
    with reading(engine) as conn:
        assert params_of_run(conn, "run-1") == {}


def test_a_concept_that_is_held_waits_and_the_others_do_not(engine: Engine, plan: RunPlan):
    """Those whose locks are free are switched at once; the held one when it is let go."""
    other = replace(DECIDED, concept_id="roots")
    requests = [
        SwitchRequest(concept_id=one, challenger=challenger(), expected_incumbent=None)
        for one in ("fractions", "roots")
    ]
    with engine.begin() as import_of_roots:
        lock_concepts_shared(import_of_roots, ["roots"])
        with engine.begin() as conn:
            done = switch_many(conn, requests, run_id="run-1", algo_version_id=1, at=STARTED)
        assert list(done) == ["fractions"]
    assert promote_batch(engine, plan, [DECIDED, other], lambda: None) == {
        "fractions": Switch.ALREADY_DONE,
        "roots": Switch.PROMOTED,
    }


def test_a_concept_that_stays_held_is_waited_for_alone(engine: Engine, plan: RunPlan):
    other = replace(DECIDED, concept_id="roots")
    with ThreadPoolExecutor(1) as pool, engine.connect() as import_of_roots:
        held = import_of_roots.begin()
        lock_concepts_shared(import_of_roots, ["roots"])
        promoted = pool.submit(promote_batch, engine, plan, [DECIDED, other], lambda: None)
        deadline = time.monotonic() + 30
        while not _promoted(engine) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _promoted(engine) == ["fractions"]  # and committed, while the other waits
        assert not promoted.done()
        held.rollback()
        assert promoted.result(60) == dict.fromkeys(("fractions", "roots"), Switch.PROMOTED)


def _promoted(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return list(params_of_run(conn, "run-1"))


def test_a_switch_is_not_repeated_without_the_run_lock(engine: Engine, plan: RunPlan):
    """The connection that was cut was all of the server's: the lock went as well."""
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise RunLockLostError

    fragile = cut_at_commit(engine, after=False, times=1)
    with pytest.raises(RunLockLostError):
        promote_batch(fragile, plan, [DECIDED], check)
    fragile.dispose()

"""What is put in force, and that an unknown outcome is looked up, never assumed."""

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
from flows import promote_params
from flows.evidence.decisions import DECISIONS, ConceptDecision, write_decisions
from flows.promote_params import WINNERS_AT_ONCE, promote_batch
from flows.runs.plan import RunPlan
from tests.datasets.store.writing import challenger
from tests.moments import STARTED

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from bkt_settings.pipeline import Settings

postgres_only = pytest.mark.parametrize(
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


@postgres_only
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


@postgres_only
def test_a_switch_that_is_always_cut_gives_up(engine: Engine, plan: RunPlan):
    fragile = cut_at_commit(engine, after=False, times=3)
    with pytest.raises(DBAPIError):
        promote_batch(fragile, plan, [DECIDED], lambda: None)
    fragile.dispose()
    with reading(engine) as conn:
        assert params_of_run(conn, "run-1") == {}


@postgres_only
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


@postgres_only
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


@postgres_only
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


def test_the_stage_puts_winners_in_force_and_records_what_was_tested(
    settings: Settings, engine: Engine, plan: RunPlan, monkeypatch: pytest.MonkeyPatch
):
    """One more winner than fit into one transaction; one that another run overtook."""
    kept = replace(DECIDED, decision=Decision.KEPT, challenger=None)
    decisions = [
        replace(DECIDED, concept_id=f"c{number:02}") for number in range(WINNERS_AT_ONCE)
    ] + [
        replace(DECIDED, concept_id="overtaken", expected_param_id=99),
        replace(kept, concept_id="kept", reasons=({"name": "n"},)),
        replace(kept, concept_id="untested", untested=True),
    ]
    write_decisions(plan.run_dir / DECISIONS, decisions, is_repeatable=True)
    batches = []

    def counted(engine, plan, winners, check):
        batches.append(len(winners))
        return promote_batch(engine, plan, winners, check)

    monkeypatch.setattr(promote_params, "promote_batch", counted)
    done = promote_params.promote_params.fn(settings, plan, lambda: None)
    won = [decided.concept_id for decided in decisions[:WINNERS_AT_ONCE]]
    assert batches == [50, 1]
    assert list(done.promoted) == won
    assert done.kept_after_all == {"overtaken": "incumbent_changed"}
    with reading(engine) as conn:
        assert sorted(params_of_run(conn, "run-1")) == won
        events = {
            name: history(conn, name) for name in ("c00", "overtaken", "kept", "untested")
        }
    assert [len(one) for one in events.values()] == [1, 1, 1, 0]
    assert events["kept"][0].decision.value == "kept"


def test_a_concept_without_a_challenger_cannot_be_switched(engine: Engine, plan: RunPlan):
    with pytest.raises(ValueError, match="'fractions' has no challenger"):
        promote_batch(engine, plan, [replace(DECIDED, challenger=None)], lambda: None)


@pytest.mark.parametrize("error", [None, ValueError("other")])
def test_only_a_lost_connection_is_tried_again(
    engine: Engine, plan: RunPlan, monkeypatch: pytest.MonkeyPatch, error: Exception | None
):
    """An error of the database on a connection that still stands is raised at once."""
    tries = []

    def failing(*_args: object, **_more: object) -> None:
        tries.append(1)
        raise error or DBAPIError("SELECT 1", None, RuntimeError("no"))

    monkeypatch.setattr(promote_params, "switch_many", failing)
    with pytest.raises((ValueError, DBAPIError)):
        promote_batch(engine, plan, [DECIDED], lambda: None)
    assert len(tries) == 1

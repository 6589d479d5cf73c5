"""A switch whose commit has an unknown outcome is looked up, never assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from bkt_core.evaluation.checks import Decision
from datasets.store.connections.engines import make_engine, reading
from datasets.store.errors import RunLockLostError
from datasets.store.params.events import history
from datasets.store.params.skill_params import Switch, params_of_run
from datasets.store.runs.runs import start_run
from flows.evidence.decisions import ConceptDecision
from flows.promote_params import promote
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
    assert promote(fragile, plan, DECIDED, lambda: None).switch is came
    fragile.dispose()
    with reading(engine) as conn:
        assert list(params_of_run(conn, "run-1")) == ["fractions"]
        assert len(history(conn, "fractions")) == 1


def test_a_switch_that_is_always_cut_gives_up(engine: Engine, plan: RunPlan):
    fragile = cut_at_commit(engine, after=False, times=3)
    with pytest.raises(DBAPIError):
        promote(fragile, plan, DECIDED, lambda: None)
    fragile.dispose()
    with reading(engine) as conn:
        assert params_of_run(conn, "run-1") == {}


def test_a_switch_is_not_repeated_without_the_run_lock(engine: Engine, plan: RunPlan):
    """The connection that was cut was all of the server's: the lock went as well."""
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise RunLockLostError

    fragile = cut_at_commit(engine, after=False, times=1)
    with pytest.raises(RunLockLostError):
        promote(fragile, plan, DECIDED, check)
    fragile.dispose()

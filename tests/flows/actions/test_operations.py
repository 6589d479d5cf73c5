"""What a person does by hand: all of it or nothing, and a row of `bkt_run` that has an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bkt_core.errors import UsageError
from datasets.store.connections.engines import reading
from datasets.store.errors import DatabaseError
from datasets.store.runs.runs import RunStatus, list_runs, start_run
from flows.actions.recompute import recompute
from flows.lifecycle.record import recorded
from flows.runs.database import open_database
from tests.datasets.store.writing import import_rows
from tests.flows.support.standing import runs_of
from tests.moments import STARTED

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


def test_a_recomputation_of_what_is_not_there_is_refused(settings: Settings, engine: Engine):
    import_rows(engine, [{"concept": "b", "user": "carl", "key": "c"}])
    for named in (
        {"concepts": ("nosuch",)},
        {"concepts": ("a", "nosuch")},
        {"user": "nobody"},
        {"user": "carl", "concepts": ("a",)},
    ):
        with pytest.raises(UsageError, match="with attempts"):
            recompute(settings, **named)
    assert runs_of(engine, "recompute") == []
    done = [
        recompute(settings, user="carl", concepts=("b",)),
        recompute(settings, concepts=("a",)),
        recompute(settings),
    ]
    assert [one.states for one in done] == [1, 2, 5]
    with reading(engine) as conn:
        runs = {run.run_id for run in list_runs(conn, kind="recompute")}
    assert runs == {one.run_id for one in done}


def test_whatever_is_raised_the_row_has_an_end_and_names_no_user(
    settings: Settings, engine: Engine
):
    assert settings.data_dir.is_dir()
    with (
        pytest.raises(DBAPIError, match="no_such"),
        recorded(engine, "rollback"),
        engine.begin() as conn,
    ):
        conn.execute(text("SELECT :user FROM no_such_table"), {"user": "user-4711"})
    with pytest.raises(KeyboardInterrupt), recorded(engine, "release"):
        raise KeyboardInterrupt
    ((status, said),) = runs_of(engine, "rollback")
    assert status is RunStatus.FAILED
    assert "no_such_table" in str(said)
    assert "user-4711" not in str(said)
    assert runs_of(engine, "release")[0][0] is RunStatus.FAILED


@pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_database_that_goes_away_is_one_sentence(settings: Settings, engine: Engine):
    def cut_off() -> None:
        with open_database(settings) as opened, opened.begin() as conn:
            pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with engine.begin() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            conn.execute(text("SELECT 1"))

    with pytest.raises(DatabaseError, match="was lost; what was committed") as refused:
        cut_off()
    assert "Run the command again" in str(refused.value)


def test_a_later_run_gives_an_end_to_those_that_were_killed(settings: Settings, engine: Engine):
    with engine.begin() as conn:
        for run_id, kind in (("1", "rollback"), ("2", "fit"), ("3", "recompute")):
            start_run(conn, run_id=run_id, kind=kind, at=STARTED)
    recompute(settings, concepts=("a",))
    for kind in ("rollback", "fit"):
        assert runs_of(engine, kind) == [(RunStatus.ABANDONED, None)]
    statuses = [status for status, _ in runs_of(engine, "recompute")]
    assert sorted(statuses) == [RunStatus.ABANDONED, RunStatus.DONE]

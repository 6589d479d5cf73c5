"""One run at a time, a lost lock that is noticed, and an end for every run that is dead."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import event, text

from datasets.store.connections.engines import reading
from datasets.store.errors import LockedError, RunLockLostError
from datasets.store.runs.run_lock import abandon_dead_runs, alongside, lock_holder, run_lock
from datasets.store.runs.runs import RunStatus, find_run, find_unfinished, finish_run, start_run
from datasets.store.states.sweep import sweep
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED

#: A lock of the operating system is not lost while its process lives.
only_on_postgres = pytest.mark.parametrize(
    "database_kind", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)

ADVISORY_LOCKS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


def begin(engine, run_id, kind, identity=None):
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind=kind, at=STARTED, identity=identity)


def status(engine, run_id):
    with reading(engine) as conn:
        return find_run(conn, run_id).status


def cut_the_lock(engine):
    """End the connection that holds the run lock, as an operator or a restart would."""
    with engine.begin() as conn:
        cut = conn.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks l JOIN pg_database d "
                "ON d.oid = l.database "
                "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
            )
        ).scalars()
        assert list(cut) == [True]


def test_a_second_run_is_told_who_holds_the_lock(engine):
    with run_lock(engine, holder="bkt retrain run-1") as lock:
        lock.check()
        assert "run-1" in (lock_holder(engine) or "")
        with pytest.raises(LockedError, match="run-1") as refused, run_lock(engine, holder="b"):
            pass
        assert refused.value.exit_code == 5
    assert lock_holder(engine) is None


@only_on_postgres
def test_a_lock_that_was_lost_is_noticed_and_stays_lost(engine):
    """The connection comes back by itself when it is used again, but not its lock."""
    with run_lock(engine, holder="bkt retrain") as lock:
        cut_the_lock(engine)
        for _ in range(2):
            with pytest.raises(RunLockLostError, match="lock was lost") as lost:
                lock.check()
            assert lost.value.exit_code == 5
        with run_lock(engine, holder="another") as other:
            other.check()
            with pytest.raises(RunLockLostError):
                lock.check()


@only_on_postgres
def test_a_sweep_whose_lock_was_lost_writes_no_further_chunk(engine):
    import_rows(engine, [{"user": f"u{i}"} for i in range(6)])
    written = []

    def cut_after_two(n):
        written.append(n)
        if len(written) == 2:
            cut_the_lock(engine)

    with run_lock(engine, holder="bkt recompute") as lock, pytest.raises(RunLockLostError):
        sweep(
            engine,
            at=STARTED,
            replay_chunk=1,
            before_chunk=lock.check,
            on_chunk=cut_after_two,
        )
    with reading(engine) as conn:
        left = conn.execute(text("SELECT count(*) FROM bkt_user_skill_state WHERE is_stale"))
        assert left.scalar_one() == 4


def test_an_unfinished_run_is_found_by_its_identity(engine):
    begin(engine, "a", "retrain", "same")
    begin(engine, "b", "retrain", "other")
    begin(engine, "c", "retrain")
    with engine.begin() as conn:
        manifest = {"x": float("nan")}
        finish_run(conn, run_id="c", status=RunStatus.DONE, at=STARTED, manifest=manifest)
        found = find_unfinished(conn, identity="same")
        assert found is not None
        assert found.run_id == "a"
        done = find_run(conn, "c")
        assert done is not None
        assert (done.status, done.manifest) == (RunStatus.DONE, {"x": None})


def test_dead_runs_of_every_kind_are_abandoned_and_the_living_are_not(engine):
    """A fit takes no run lock: while any such run is alive, none of them is called dead."""
    for run_id, kind in (("a", "retrain"), ("b", "backfill"), ("c", "fit"), ("d", "rollback")):
        begin(engine, run_id, kind)
    begin(engine, "ended", "fit")
    with engine.begin() as conn:
        finish_run(conn, run_id="ended", status=RunStatus.FAILED, at=STARTED)
    with run_lock(engine, holder="bkt retrain"):
        with alongside(engine), alongside(engine):
            assert abandon_dead_runs(engine, keep="a", at=STARTED) == ("b",)
        assert abandon_dead_runs(engine, keep="a", at=STARTED) == ("c", "d")
        assert abandon_dead_runs(engine, keep="a", at=STARTED) == ()
    assert status(engine, "a") is RunStatus.RUNNING
    assert status(engine, "ended") is RunStatus.FAILED


@only_on_postgres
def test_locks_are_given_back_before_their_connection_is_closed(engine):
    """A server frees the locks of a closed connection some time later."""
    seen = []

    def ask(*_):
        with engine.connect() as conn:
            seen.append(conn.execute(text(ADVISORY_LOCKS)).scalar_one())

    event.listen(engine, "invalidate", ask)
    with alongside(engine), run_lock(engine, holder="bkt retrain"), engine.connect() as conn:
        assert conn.execute(text(ADVISORY_LOCKS)).scalar_one() == 2
    assert seen == [1, 0]


ALONGSIDE = """
    import sys
    from datasets.store.runs.run_lock import alongside
    from datasets.store.connections.engines import make_engine
    with alongside(make_engine(sys.argv[1])):
        print("alive", flush=True)
        sys.stdin.read()
"""


def test_a_killed_process_is_not_taken_for_a_living_one(engine):
    begin(engine, "trial", "fit")
    url = engine.url.render_as_string(hide_password=False)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ALONGSIDE), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"alive\n"
    assert abandon_dead_runs(engine, keep=None, at=STARTED) == ()
    child.kill()
    child.communicate()
    for _ in range(100):  # until the server has noticed
        if abandon_dead_runs(engine, keep=None, at=STARTED):
            break
    assert status(engine, "trial") is RunStatus.ABANDONED

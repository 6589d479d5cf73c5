"""Backfilled snapshots: what was, and what would have been."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from datasets.store.attempts.erasure import erase_user
from datasets.store.connections.engines import reading
from datasets.store.online.recording import record
from datasets.store.params.rollback import roll_back
from datasets.store.runs.runs import start_run
from datasets.store.states import point_in_time
from datasets.store.states.past_params import Clock
from datasets.store.states.point_in_time import Moment, backfill_snapshots
from datasets.store.states.snapshots import mastery_as_of, thin_snapshots, write_snapshots
from datasets.store.states.sweep import sweep
from tests.datasets.store.online.test_recording import attempt
from tests.datasets.store.writing import PARAMS, import_rows, promote
from tests.moments import STARTED
from tests.oracles.replay import DEFAULTS, mastery

DAY = timedelta(days=1)


def start(engine, run_id, at=STARTED):
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="backfill", at=at)


def as_of(engine, at):
    with reading(engine) as conn:
        return mastery_as_of(conn, at).drop("snapshot_at")


def answer(engine, key, *, day, correct=1, user="ann", stored_on=None):
    with engine.begin() as conn:
        one = attempt(key, user=user, minutes=day * 1440, correct=correct)
        record(conn, one, at=STARTED + DAY * (day if stored_on is None else stored_on))


@pytest.fixture
def quiet_week(engine):
    """Four days of answers, a promotion, a rollback at the end; snapshots every night."""
    for day in range(4):
        answer(engine, f"a{day}", day=day, correct=day % 2)
        answer(engine, f"b{day}", day=day, user="bob")
        night = STARTED + DAY * day + DAY / 2
        if day == 1:
            promote(engine, "night-1", "fractions", at=night)
        start(engine, f"snap-{day}")
        if day == 3:
            with engine.begin() as conn:
                roll_back(
                    conn, run_id="snap-3", concept_id="fractions", algo_version_id=1,
                    to_param_id=None, at=night, actor="test",
                )  # fmt: skip
        sweep(engine, at=night)
        write_snapshots(engine, run_id=f"snap-{day}", at=night)
    return engine


def test_on_a_quiet_database_as_known_gives_the_rows_that_were_written(quiet_week):
    engine = quiet_week
    nights = [STARTED + DAY * day + DAY / 2 for day in range(4)]
    written = [as_of(engine, night) for night in nights]
    for day, night in enumerate(nights):
        start(engine, f"back-{day}")
        moment = [Moment(night, f"back-{day}")]
        assert sum(backfill_snapshots(engine, moment, clock=Clock.KNOWN).values()) == 0
        assert as_of(engine, night).equals(written[day])


def test_as_known_rebuilds_rows_that_were_lost(quiet_week):
    engine = quiet_week
    night = STARTED + DAY * 2 + DAY / 2
    before = as_of(engine, night)
    with engine.begin() as conn:
        conn.exec_driver_sql("DELETE FROM mastery_snapshot")
    start(engine, "back")
    assert (
        sum(backfill_snapshots(engine, [Moment(night, "back")], clock=Clock.KNOWN).values())
        == 2
    )
    assert as_of(engine, night).equals(before)
    assert (
        sum(backfill_snapshots(engine, [Moment(night, "back")], clock=Clock.KNOWN).values())
        == 0
    )


def test_a_late_attempt_belongs_to_when_it_was_answered_but_was_not_known_then(engine):
    answer(engine, "late", day=0, stored_on=5)
    start(engine, "known")
    start(engine, "answered")
    moment = STARTED + DAY
    assert (
        sum(backfill_snapshots(engine, [Moment(moment, "known")], clock=Clock.KNOWN).values())
        == 0
    )
    assert sum(backfill_snapshots(engine, [Moment(moment, "answered")]).values()) == 1
    assert as_of(engine, moment)["p_mastery"].item() == mastery([1], DEFAULTS)


def test_a_backfill_may_use_the_parameters_of_a_run(engine):
    answer(engine, "a", day=0)
    promote(engine, "run-1", "fractions")
    with engine.begin() as conn:
        start_run(conn, run_id="undo", kind="rollback", at=STARTED)
        roll_back(
            conn, run_id="undo", concept_id="fractions", algo_version_id=1, to_param_id=None,
            at=STARTED, actor="test",
        )  # fmt: skip
    start(engine, "back")
    backfill_snapshots(engine, [Moment(STARTED + DAY, "back")], params_of="run-1")
    assert as_of(engine, STARTED + DAY)["p_mastery"].item() == mastery([1], PARAMS.as_tuple())


def test_a_correction_is_known_only_from_its_moment(engine):
    import_rows(engine, [{"key": "a"}])
    import_rows(engine, [{"key": "a", "correct": 0}], corrections=True, at=STARTED + DAY * 3)
    start(engine, "before")
    start(engine, "after")
    moments = [Moment(STARTED + DAY, "before"), Moment(STARTED + DAY * 4, "after")]
    backfill_snapshots(engine, moments, clock=Clock.KNOWN)
    values = [as_of(engine, moment.at)["p_mastery"].item() for moment in moments]
    assert values == [mastery([1], DEFAULTS), mastery([0], DEFAULTS)]


def test_erased_users_do_not_come_back_by_a_backfill(engine):
    answer(engine, "a", day=0)
    answer(engine, "b", day=0, user="bob")
    erase_user(engine, "ann", at=STARTED + DAY, actor="test")
    start(engine, "back")
    assert sum(backfill_snapshots(engine, [Moment(STARTED + DAY, "back")]).values()) == 1
    assert as_of(engine, STARTED + DAY)["user_id"].to_list() == ["bob"]
    assert isinstance(as_of(engine, STARTED), pl.DataFrame)


def test_thinning_keeps_the_last_row_of_each_week_and_everything_younger(quiet_week):
    engine = quiet_week
    with engine.begin() as conn:
        assert thin_snapshots(conn, before=STARTED) == 0
    now = as_of(engine, STARTED + DAY * 9)
    with engine.begin() as conn:
        went = thin_snapshots(conn, before=STARTED + DAY * 9)
        assert went > 0
        assert thin_snapshots(conn, before=STARTED + DAY * 9) == 0
    assert as_of(engine, STARTED + DAY * 9).equals(now)


def test_users_are_read_in_parts_and_nobody_twice(engine, monkeypatch):
    """Parts end with the user whose attempts exceed the limit; the rows are those of one go."""
    monkeypatch.setattr(point_in_time, "ROWS_AT_ONCE", 2)
    for key, user in enumerate(("ann", "ann", "ann", "bob", "cy", "cy")):
        answer(engine, f"k{key}", day=0, user=user)
    start(engine, "then")
    parts = []

    def begun():
        parts.append(1)
        assert len(parts) < 9, "no part is the last"

    moment = Moment(STARTED + DAY, "then")
    assert backfill_snapshots(engine, [moment], before_part=begun) == {"then": 3}
    assert len(parts) == 3
    assert as_of(engine, moment.at)["n_attempts"].to_list() == [3, 1, 2]


@pytest.mark.usefixtures("quiet_week")
def test_afterwards_every_state_is_what_it_was(engine):
    """Of each user, at the moment given for it; the days before it are what was asked for."""
    start(engine, "then")
    start(engine, "after")
    asked, after = STARTED + DAY * 1.6, STARTED + DAY * 1.8
    known = as_of(engine, after)
    assert known["p_mastery"].n_unique() == 2
    moment = Moment(asked, "then")
    backfill_snapshots(engine, [moment], afterwards=Moment(after, "after"))
    then = as_of(engine, asked)
    assert then["param_id"].to_list() == [None, None]  # rolled back by now
    assert not then.equals(known)
    assert as_of(engine, after).equals(known)

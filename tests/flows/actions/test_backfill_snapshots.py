"""`bkt backfill snapshots`: the rows of past days, exactly as they were written, or anew."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from bkt_core.errors import BadInputError, UsageError
from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.connections.engines import reading
from datasets.store.online.recording import record
from datasets.store.params.activation import flip_version
from datasets.store.params.algorithms import algorithm
from datasets.store.params.rollback import roll_back
from datasets.store.params.switching import switch
from datasets.store.runs.runs import RunStatus, list_runs, start_run
from datasets.store.states import point_in_time
from datasets.store.states.snapshots import mastery_as_of, write_snapshots
from datasets.store.states.sweep import sweep
from flows.actions.backfill_snapshots import backfill_days
from tests.datasets.store.writing import challenger, forget_runs, promote

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings

pytestmark = pytest.mark.slow

FIRST = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
DAYS = [(FIRST + timedelta(days=n)).date() for n in range(5)]
OTHER = BktParams(p_L0=0.2, p_T=0.3, p_S=0.1, p_G=0.2)


@pytest.fixture
def settings(bkt_home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name the database of the test."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    return load_settings()


@pytest.fixture
def quiet_days(engine: Engine) -> Engine:
    """Answers by day and a night after each: promotions, a rollback, a day without answers."""
    for n, day in enumerate(DAYS):
        at = FIRST + timedelta(days=n)
        if n != 3:
            for i, user in enumerate(("ann", "bob", "carl")):
                if (i + n) % 3:
                    _answer(engine, f"{user}-{n}", user, at + timedelta(minutes=i), n % 2)
        _night(engine, day, n, at + timedelta(hours=12))
    return engine


def _answer(engine: Engine, key: str, user: str, at: datetime, correct: int) -> None:
    attempt = NewAttempt(
        idempotency_key=key,
        user_id=user,
        correct=correct,
        attempted_at=at,
        concept_ids=("sums", "products") if user == "bob" else ("sums",),
    )
    with engine.begin() as conn:
        record(conn, attempt, at=at)


def _night(engine: Engine, day: date, n: int, at: datetime) -> None:
    run_id, first = f"night-{n}", BktParams(0.3, 0.1, 0.1, 0.2)
    if n in (1, 2):
        promote(engine, run_id, "sums", OTHER if n == 2 else first, at=at)
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="retrain", at=at)
        if day == DAYS[4]:
            roll_back(
                conn, run_id=run_id, concept_id="sums", algo_version_id=1, to_param_id=1,
                at=at, actor="test",
            )  # fmt: skip
    sweep(engine, at=at)
    write_snapshots(engine, run_id=run_id, at=at)


def rows_by_day(engine: Engine) -> list[tuple[object, ...]]:
    query = (
        "SELECT snapshot_at, user_id, concept_id, p_mastery, n_attempts, param_id, "
        "algo_version_id FROM mastery_snapshot"
    )
    with reading(engine) as conn:
        rows = [tuple(row) for row in conn.execute(text(query))]
    return sorted(((str(row[0])[:10], *row[1:]) for row in rows), key=repr)


@pytest.mark.parametrize("at_once", [1, 100_000])
def test_as_known_gives_exactly_the_rows_that_were_written_at_the_time(
    settings: Settings, quiet_days: Engine, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    """Which rows on which day, mastery to the last bit, attempts, parameters."""
    monkeypatch.setattr(point_in_time, "ROWS_AT_ONCE", at_once)
    written = rows_by_day(quiet_days)
    assert len(written) > 10
    again = backfill_days(settings, DAYS, as_known=True, params_of=None)
    assert set(again.rows.values()) == {0}
    with quiet_days.begin() as conn:
        conn.execute(text("DELETE FROM mastery_snapshot"))
        forget_runs(conn, "backfill")
    backfill_days(settings, DAYS, as_known=True, params_of=None)
    assert rows_by_day(quiet_days) == written


def test_a_day_is_filled_in_anew_when_the_parameters_have_changed(
    settings: Settings, quiet_days: Engine
):
    first = backfill_days(settings, DAYS[:1], as_known=False, params_of=None)
    again = backfill_days(settings, DAYS[:1], as_known=False, params_of=None)
    promote(quiet_days, "later", "products", OTHER)
    anew = backfill_days(settings, DAYS[:1], as_known=False, params_of=None)
    assert (first.rows[DAYS[0]], again.rows[DAYS[0]], anew.rows[DAYS[0]]) == (2, 0, 1)


def test_the_parameters_of_a_run_are_used_where_it_has_them(
    settings: Settings, quiet_days: Engine
):
    backfill_days(settings, DAYS[:1], as_known=False, params_of="night-2")
    ids = {(row[2], row[5]) for row in rows_by_day(quiet_days) if row[0] == str(DAYS[0])}
    assert ("sums", 2) in ids
    assert ("products", 2) not in ids


def as_of(engine: Engine, day: date) -> list[tuple[object, ...]]:
    """Every state at a day's end: user, concept, mastery, attempts, parameters."""
    with reading(engine) as conn:
        rows = mastery_as_of(conn, datetime.combine(day, time.max, tzinfo=UTC))
    return rows.drop("snapshot_at", "algo_version_id").rows()


def filled(settings: Settings, days: list[date], params_of: str | None = None) -> None:
    backfill_days(settings, days, as_known=False, params_of=params_of)


@pytest.mark.parametrize("other", [{"params_of": "night-2"}, {"as_known": True}])
def test_the_last_request_for_a_day_stands(
    settings: Settings, quiet_days: Engine, other: dict[str, str | bool]
):
    """One way, another way, the first way again: what was asked last is what a day says."""
    first = {"as_known": False, "params_of": "night-1"}
    second = {"as_known": False, "params_of": None} | other
    days = DAYS[2:4]
    told = []
    for asked in (first, second, first, first, second):
        backfill_days(settings, days, **asked)
        told.append([as_of(quiet_days, day) for day in days])
    assert told[0] != told[1]
    assert told == [told[0], told[1], told[0], told[0], told[1]]
    with reading(quiet_days) as conn:
        n_runs = len(list_runs(conn, kind="backfill"))
    assert n_runs == 4 * 3, "the request that was repeated at once is the same run"


@pytest.mark.parametrize("at_once", [1, 100_000])
def test_days_that_were_not_asked_for_say_what_they_said(
    settings: Settings, quiet_days: Engine, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(point_in_time, "ROWS_AT_ONCE", at_once)
    others = [DAYS[0], DAYS[3], DAYS[4]]
    before = [as_of(quiet_days, day) for day in others]
    inside = [as_of(quiet_days, day) for day in DAYS[1:3]]
    for run in ("night-2", "night-1", None, "night-2"):
        filled(settings, DAYS[1:3], run)
        assert [as_of(quiet_days, day) for day in others] == before
    assert [as_of(quiet_days, day) for day in DAYS[1:3]] != inside


def test_a_backfill_killed_between_users_leaves_each_with_a_whole_past(
    settings: Settings, quiet_days: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(point_in_time, "ROWS_AT_ONCE", 1)
    before = [as_of(quiet_days, day) for day in DAYS]
    real, users = point_in_time._restore, []

    def killed(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        users.append(1)
        if len(users) == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr(point_in_time, "_restore", killed)
    with pytest.raises(RuntimeError):
        filled(settings, DAYS[1:3], "night-2")
    broken = [as_of(quiet_days, day) for day in DAYS]
    assert [broken[n] for n in (0, 3, 4)] == [before[n] for n in (0, 3, 4)]
    monkeypatch.setattr(point_in_time, "_restore", real)
    filled(settings, DAYS[1:3], "night-2")
    whole = [as_of(quiet_days, day) for day in DAYS]
    assert [whole[n] for n in (0, 3, 4)] == [before[n] for n in (0, 3, 4)]
    firsts = {row[0] for row in whole[1]}
    assert len(firsts) > 1
    for n in (1, 2):
        assert {row for row in broken[n] if row[0] == min(firsts)} == {
            row for row in whole[n] if row[0] == min(firsts)
        }


def test_as_known_is_judged_by_the_version_of_the_time(settings: Settings, quiet_days: Engine):
    """Another version in force by now changes nothing of what was known then."""
    written = rows_by_day(quiet_days)
    with quiet_days.begin() as conn:
        conn.execute(text("UPDATE algo_versions SET status = 'RETIRED' WHERE version = 'v1'"))
        conn.execute(text("UPDATE algo_versions SET status = 'ACTIVE' WHERE version = 'v2'"))
        conn.execute(text("DELETE FROM mastery_snapshot"))
    backfill_days(settings, DAYS, as_known=True, params_of=None)
    assert rows_by_day(quiet_days) == written


@pytest.fixture
def days_of_activations(quiet_days: Engine) -> tuple[Engine, list[date]]:
    """Five more days: rows of a candidate, v2 in force, a night under it, and back."""
    days = [(FIRST + timedelta(days=n)).date() for n in range(5, 10)]
    for n, (day, version) in enumerate(zip(days, ("", "v2", "", "v1", ""), strict=True), 5):
        at = FIRST + timedelta(days=n)
        for user in ("ann", "bob"):
            _answer(quiet_days, f"{user}-{n}", user, at, n % 2)
        if version:
            noon = at + timedelta(hours=3)
            with quiet_days.begin() as conn:
                run_id = f"to-{version}"
                start_run(conn, run_id=run_id, kind="activate", at=noon)
                flip_version(conn, run_id=run_id, version=version, at=noon, actor="test")
            sweep(quiet_days, at=noon)
        _answer(quiet_days, f"carl-{n}", "carl", at + timedelta(hours=6), 1)
        if n in (5, 7):  # a night under a candidate, and one while v2 is in force
            evening = at + timedelta(hours=11)
            kind = "candidate" if n == 5 else "retrain"
            _fit_under_v2(
                quiet_days, f"fit-{n}", "sums" if n == 5 else "products", kind, evening
            )
        _night(quiet_days, day, n, at + timedelta(hours=12))
    return quiet_days, days


def _fit_under_v2(engine: Engine, run_id: str, concept: str, kind: str, at: datetime) -> None:
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind=kind, at=at)
        switch(
            conn,
            run_id=run_id,
            concept_id=concept,
            algo_version_id=algorithm(conn, "v2").id,
            challenger=challenger(BktParams(0.6, 0.2, 0.1, 0.15)),
            expected_incumbent=None,
            at=at,
        )


def test_as_known_is_judged_by_the_version_of_each_day_across_activations(
    settings: Settings, days_of_activations: tuple[Engine, list[date]]
):
    """The very rows, under v1, then v2 with what nights had fitted of it, then v1 again."""
    engine, days = days_of_activations
    written = rows_by_day(engine)
    versions = {str(day): {row[6] for row in written if row[0] == str(day)} for day in days}
    assert list(versions.values()) == [{1}, {2}, {2}, {1}, {1}]
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM mastery_snapshot"))
    backfill_days(settings, [*DAYS, *days], as_known=True, params_of=None)
    assert rows_by_day(engine) == written


def test_what_makes_no_sense_is_refused_and_leaves_no_row(
    settings: Settings, quiet_days: Engine
):
    for run, error in (("nosuch", BadInputError), ("night-0", BadInputError)):
        with pytest.raises(error):
            backfill_days(settings, DAYS, as_known=False, params_of=run)
    with pytest.raises(UsageError, match="first attempt"):
        backfill_days(settings, [DAYS[0] - timedelta(days=9)], as_known=True, params_of=None)
    with reading(quiet_days) as conn:
        assert list_runs(conn, kind="backfill") == ()


def test_a_backfill_that_breaks_is_failed(
    settings: Settings, quiet_days: Engine, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(point_in_time, "replay", broken)
    with pytest.raises(RuntimeError):
        backfill_days(settings, DAYS, as_known=False, params_of=None)
    with reading(quiet_days) as conn:
        runs = list_runs(conn, kind="backfill")
    assert {run.status for run in runs} == {RunStatus.FAILED}
    assert all("out of luck" in run.manifest["outcome"]["error"] for run in runs)

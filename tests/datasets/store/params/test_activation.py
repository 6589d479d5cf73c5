"""Another version in force: nobody commits under the old one behind the flip."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.connections.engines import make_engine, reading
from datasets.store.errors import RollbackError, UnknownAlgorithmError
from datasets.store.online.recording import record
from datasets.store.params import activation
from datasets.store.params.activation import flip_version
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.params.events import EventDecision, history
from datasets.store.params.rollback import roll_back
from datasets.store.params.switching import switch
from datasets.store.params.versions import list_versions
from datasets.store.runs.runs import start_run
from datasets.store.states.outstanding import outstanding
from datasets.store.states.sweep import sweep
from tests.datasets.store.writing import PARAMS, challenger, promote
from tests.moments import STARTED
from tests.oracles.replay import DEFAULTS, mastery

OF_V2 = BktParams(p_L0=0.7, p_T=0.2, p_S=0.1, p_G=0.15)
QUEUED = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


def attempt(key, *, user="ann", concept="fractions", minutes=0, correct=1):
    return NewAttempt(
        idempotency_key=key,
        user_id=user,
        correct=correct,
        attempted_at=STARTED + timedelta(minutes=minutes),
        concept_ids=(concept,),
    )


def write(engine, *attempts):
    for one in attempts:
        with engine.begin() as conn:
            record(conn, one, at=STARTED)


def fit_v2(engine, concept, params=OF_V2):
    """A row of parameters under v2, as a night under candidates leaves it."""
    with engine.begin() as conn:
        start_run(conn, run_id="run-v2", kind="retrain", at=STARTED)
        switch(
            conn,
            run_id="run-v2",
            concept_id=concept,
            algo_version_id=algorithm(conn, "v2").id,
            challenger=challenger(params),
            expected_incumbent=None,
            at=STARTED,
        )


def flip(engine, version, run_id="flip-1"):
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="activate", at=STARTED)
        return flip_version(conn, run_id=run_id, version=version, at=STARTED, actor="me")


def expected(conn):
    """(user, concept) -> (mastery, param_id, version), by plain Python."""
    version = active_algorithm(conn).id
    rows = conn.execute(
        text("SELECT * FROM bkt_skill_params WHERE is_active AND algo_version_id = :version"),
        {"version": version},
    )
    fitted = {
        row.concept_id: (row.id, (row.p_l0, row.p_t, row.p_s, row.p_g, row.p_f)) for row in rows
    }
    outcomes = {}
    for row in conn.execute(text("SELECT * FROM attempts ORDER BY attempted_at, id")):
        outcomes.setdefault((row.user_id, row.concept_id), []).append(row.correct)
    found = {}
    for (user, concept), sequence in outcomes.items():
        param_id, params = fitted.get(concept, (None, DEFAULTS))
        found[user, concept] = (mastery(sequence, params), param_id, version)
    return found


def stored(conn):
    rows = conn.execute(text("SELECT * FROM bkt_user_skill_state WHERE NOT is_stale"))
    return {
        (row.user_id, row.concept_id): (row.p_mastery, row.param_id, row.algo_version_id)
        for row in rows
    }


def swept(engine):
    sweep(engine, at=STARTED)
    with reading(engine) as conn:
        assert stored(conn) == expected(conn)
        return stored(conn)


def test_there_and_back_every_state_is_the_replay_and_the_first_bits_return(engine):
    write(
        engine,
        *(
            attempt(f"{user}{concept}{i}", user=user, concept=concept, minutes=i, correct=i % 2)
            for user in ("ann", "bob")
            for concept in ("a", "b", "c")
            for i in range(5)
        ),
    )
    promote(engine, "run-1", "a", PARAMS)
    promote(engine, "run-1", "b", PARAMS)
    fit_v2(engine, "a")
    fit_v2(engine, "c")
    first = swept(engine)
    gone = flip(engine, "v2")
    assert (gone.before, gone.after, gone.concepts) == ("v1", "v2", 3)
    with reading(engine) as conn:
        assert sum(outstanding(conn).values()) == 6
    second = swept(engine)
    assert second["ann", "a"] != first["ann", "a"]
    assert second["ann", "b"][1] is None
    assert flip(engine, "v2", "flip-2").concepts == 0
    with reading(engine) as conn:
        since = {one.version: one.in_force_since for one in list_versions(conn)}
    assert (since["v1"], since["v2"]) == (None, STARTED)
    back = flip(engine, "v1", "flip-3")
    assert (back.before, back.after, back.concepts) == ("v2", "v1", 3)
    assert swept(engine) == first
    with reading(engine) as conn:
        told = [(one.decision, one.run_id) for one in history(conn, "b")]
        assert told[:2] == [
            (EventDecision.ACTIVATED, "flip-3"),
            (EventDecision.ACTIVATED, "flip-1"),
        ]
        latest = history(conn, "c")[0]
        assert (latest.to_param_id, latest.actor) == (None, "me")


def test_a_version_that_is_not_there_changes_nothing(engine):
    with pytest.raises(UnknownAlgorithmError, match="v9"):
        flip(engine, "v9")
    with reading(engine) as conn:
        assert active_algorithm(conn).version == "v1"


def begun_under_v1(engine, database_url, new_key):
    """An update of a new key that has read v1 while v2 comes into force and is swept."""
    writer = make_engine(database_url)
    flipped = threading.Event()

    def activate():
        flip(engine, "v2")
        flipped.set()
        sweep(engine, at=STARTED)

    other = threading.Thread(target=activate)
    with writer.begin() as conn:
        record(conn, new_key, at=STARTED)
        other.start()
        queued = False
        while engine.dialect.name == "postgresql" and not queued and other.is_alive():
            with engine.connect() as looking:
                queued = bool(looking.execute(QUEUED).scalar_one())
        slipped_by = flipped.is_set()
    other.join()
    writer.dispose()
    return slipped_by


def test_an_update_that_began_under_the_old_version_commits_before_the_flip(
    engine, database_url
):
    write(engine, attempt("k0"))
    fit_v2(engine, "fractions")
    assert not begun_under_v1(engine, database_url, attempt("k1", user="new"))
    with reading(engine) as conn:
        assert outstanding(conn) == {}
        assert stored(conn) == expected(conn)
        assert stored(conn).keys() == {("ann", "fractions"), ("new", "fractions")}


@pytest.mark.postgres
@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
def test_without_the_guard_the_late_update_is_missed_by_the_sweep(
    engine, database_url, monkeypatch
):
    """The design that must fail: it shows that the test above sees what it looks for."""
    write(engine, attempt("k0"))
    fit_v2(engine, "fractions")
    monkeypatch.setattr(activation, "lock_version", lambda _conn: None)
    assert begun_under_v1(engine, database_url, attempt("k1", user="new"))
    with reading(engine) as conn:
        assert outstanding(conn) == {"fractions": 1}
        assert stored(conn) != expected(conn)


def test_attempts_under_flips_that_go_back_and_forth_lose_nothing(engine, database_url):
    """Writers of old and new keys while six activations pass."""
    fit_v2(engine, "a")
    promote(engine, "run-1", "a", PARAMS)
    writer = make_engine(database_url)
    failed = []

    def storm(n):
        try:
            for i in range(15):
                concept = "ab"[i % 2]
                write(writer, attempt(f"{n}-{i}", user=f"u{n}{i // 4}", concept=concept))
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            failed.append(error)

    writers = [threading.Thread(target=storm, args=(n,)) for n in range(3)]
    for one in writers:
        one.start()
    for i in range(6):
        flip(engine, ("v2", "v1")[i % 2], f"flip-{i}")
        sweep(engine, at=STARTED)
    for one in writers:
        one.join()
    writer.dispose()
    assert failed == []
    assert len(swept(engine)) == 3 * 4 * 2


def test_a_rollback_that_began_under_another_version_is_refused(engine):
    promote(engine, "run-1", "a", PARAMS)
    flip(engine, "v2")
    asked = {"concept_id": "a", "algo_version_id": 1, "to_param_id": None}
    with engine.begin() as conn:
        start_run(conn, run_id="back", kind="rollback", at=STARTED)
        with pytest.raises(RollbackError, match="Another algorithm version"):
            roll_back(conn, run_id="back", at=STARTED, actor="me", **asked)

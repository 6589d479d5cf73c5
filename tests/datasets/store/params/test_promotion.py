"""Switches, rollbacks and pins: at most one active row, and every change with its event."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from bkt_core.params import BktParams
from datasets.store.connections.engines import reading
from datasets.store.errors import IncumbentChangedError, RollbackError
from datasets.store.params.events import EventDecision, history
from datasets.store.params.in_force import in_force
from datasets.store.params.rollback import concepts_of_run, release, roll_back, row_before
from datasets.store.params.skill_params import active_params
from datasets.store.params.switching import Switch
from datasets.store.runs.runs import start_run
from tests.datasets.store.writing import PARAMS, promote
from tests.moments import STARTED

OTHER = BktParams(p_L0=0.2, p_T=0.1, p_S=0.1, p_G=0.2)


def rolled_back(engine, run_id, concept_id, to, *, only_from=None):
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="rollback", at=STARTED)
        return roll_back(
            conn,
            run_id=run_id,
            concept_id=concept_id,
            algo_version_id=1,
            to_param_id=to,
            only_from=only_from,
            at=STARTED,
            actor="olga",
            reason="too many crossed the threshold",
        )


def active(engine):
    with reading(engine) as conn:
        return {c: row.param_id for c, row in active_params(conn, 1).items()}


def test_parameters_go_in_and_out_to_the_last_bit(engine):
    odd = BktParams(p_L0=0.1 + 2e-17, p_T=1 / 3, p_S=0.1 * 3 - 0.2, p_G=2**-30)
    promote(engine, "run-1", "fractions", odd)
    with reading(engine) as conn:
        assert in_force(conn, "fractions").params == odd
        assert in_force(conn, "another").param_id is None


def test_a_switch_done_twice_by_one_run_writes_once(engine):
    first = promote(engine, "run-1", "fractions")
    again = promote(engine, "run-1", "fractions", expected=None)
    assert (first.switch, again.switch) == (Switch.PROMOTED, Switch.ALREADY_DONE)
    assert again.promoted
    with reading(engine) as conn:
        assert len(history(conn, "fractions")) == 1


def test_an_incumbent_that_changed_meanwhile_is_kept_and_the_event_says_so(engine):
    first = promote(engine, "run-1", "fractions")
    second = promote(engine, "run-2", "fractions", OTHER, expected=None)
    assert (second.switch, second.param_id) == (Switch.INCUMBENT_CHANGED, first.param_id)
    with reading(engine) as conn:
        event = history(conn, "fractions")[0]
    assert event.decision is EventDecision.KEPT
    assert event.reasons[0]["found_param_id"] == first.param_id


def test_two_switches_at_once_have_one_winner(engine):
    outcomes = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(
                promote(engine, f"run-{n}", "fractions", expected=None).switch
            )
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Switch.PROMOTED) == 1
    assert outcomes.count(Switch.INCUMBENT_CHANGED) == 5


def test_a_rollback_pins_until_it_is_released(engine):
    first = promote(engine, "run-1", "fractions").param_id
    second = promote(engine, "run-2", "fractions", OTHER).param_id
    with reading(engine) as conn:
        assert row_before(conn, second) == first
    rolled_back(engine, "back-1", "fractions", first)
    assert active(engine) == {"fractions": first}
    assert promote(engine, "run-3", "fractions").switch is Switch.PINNED
    with engine.begin() as conn:
        start_run(conn, run_id="free", kind="rollback", at=STARTED)
        release(
            conn,
            run_id="free",
            concept_id="fractions",
            algo_version_id=1,
            at=STARTED,
            actor="o",
        )
    assert promote(engine, "run-4", "fractions").switch is Switch.PROMOTED
    with reading(engine) as conn:
        decisions = [event.decision.value for event in history(conn, "fractions")]
    assert decisions == ["promoted", "released", "kept", "rolled_back", "promoted", "promoted"]


def test_a_rollback_to_the_defaults_leaves_no_active_row(engine):
    promote(engine, "run-1", "fractions")
    rolled_back(engine, "back-1", "fractions", None)
    assert active(engine) == {}
    rolled_back(engine, "back-1", "fractions", None)  # the same rollback again: nothing


def test_a_rollback_to_a_wrong_row_is_refused_and_changes_nothing(engine):
    mine = promote(engine, "run-1", "fractions").param_id
    theirs = promote(engine, "run-1", "decimals").param_id
    before = active(engine)
    for to, why in (
        (999, "there is none"),
        (2**70, "there is none"),
        (theirs, "must be of concept"),
        (mine, "already"),
    ):
        with pytest.raises(RollbackError, match=why):
            rolled_back(engine, "back-1", "fractions", to)
    with pytest.raises(RollbackError, match="already"):
        rolled_back(engine, "back-1", "unknown", None)
    assert active(engine) == before


def test_a_rollback_chosen_for_what_was_in_force_does_not_undo_what_came_meanwhile(engine):
    first = promote(engine, "run-1", "fractions").param_id
    second = promote(engine, "run-2", "fractions", OTHER).param_id
    newest = promote(engine, "run-3", "fractions").param_id
    with pytest.raises(IncumbentChangedError, match=f"Row {second} must still be in force"):
        rolled_back(engine, "back-1", "fractions", first, only_from=second)
    assert active(engine) == {"fractions": newest}
    assert rolled_back(engine, "back-2", "fractions", first, only_from=newest)
    assert active(engine) == {"fractions": first}


def test_a_rollback_of_a_run_names_what_it_leaves(engine):
    first = promote(engine, "run-1", "fractions").param_id
    promote(engine, "run-1", "decimals")
    promote(engine, "run-2", "decimals", OTHER)
    with reading(engine) as conn:
        concepts = concepts_of_run(conn, "run-1")
        with pytest.raises(RollbackError, match="has not promoted"):
            concepts_of_run(conn, "run-9")
    assert (concepts.active, concepts.superseded) == ({"fractions": first}, ("decimals",))


NONSENSE = (
    "UPDATE bkt_user_skill_state SET p_mastery = 1.5",
    "UPDATE bkt_user_skill_state SET p_mastery = NULL",
    "UPDATE bkt_user_skill_state SET n_attempts = -1",
    "UPDATE bkt_user_skill_state SET param_id = 999",
    "UPDATE bkt_skill_params SET p_l0 = 0",
    "UPDATE bkt_skill_params SET p_t = 1",
    "UPDATE bkt_skill_params SET p_s = 0.6, p_g = 0.5",
    "UPDATE bkt_skill_params SET is_active = true",
    "UPDATE bkt_skill_params SET run_id = 'unheard-of'",
    "UPDATE attempts SET correct = 2",
    "UPDATE attempts SET user_id = NULL",
    "UPDATE bkt_run SET status = 'sideways'",
    "UPDATE bkt_promotion_event SET decision = 'perhaps'",
    "INSERT INTO algo_versions (algo_key, version, status, created_at) "
    "VALUES ('bkt', 'v9', 'ACTIVE', '2026-01-01 00:00:00.000000')",
)


@pytest.mark.parametrize("statement", NONSENSE)
def test_the_database_refuses_nonsense_written_by_hand(engine, statement):
    from tests.datasets.store.writing import import_rows

    import_rows(engine, [{}])
    promote(engine, "run-1", "fractions", PARAMS)
    promote(engine, "run-2", "fractions", OTHER)
    with pytest.raises(IntegrityError), engine.begin() as conn:
        conn.execute(text(statement))


@pytest.mark.parametrize("moment", ["infinity", "2026-01-01", "1900-01-01T00:00:00Z", "nan"])
def test_the_database_refuses_moments_that_the_two_would_order_differently(engine, moment):
    from tests.datasets.store.writing import import_rows

    import_rows(engine, [{}])
    if engine.dialect.name == "postgresql" and moment != "infinity":
        return  # a timestamptz is one moment, however it was written
    with pytest.raises(IntegrityError), engine.begin() as conn:
        conn.execute(text("UPDATE attempts SET attempted_at = :m"), {"m": moment})


def test_rows_of_parameters_are_never_deleted(engine):
    promote(engine, "run-1", "fractions")
    with pytest.raises(IntegrityError), engine.begin() as conn:
        conn.execute(text("DELETE FROM bkt_skill_params"))


@pytest.mark.parametrize(
    ("run_id", "param_id", "version"), [("nobody", None, 1), (None, 99, 1), (None, None, 99)]
)
def test_a_snapshot_refers_to_what_is_there(engine, run_id, param_id, version):
    values = {"at": STARTED.isoformat(), "run_id": run_id, "param": param_id, "v": version}
    statement = text(
        "INSERT INTO mastery_snapshot (snapshot_at, run_id, user_id, concept_id, p_mastery,"
        " n_attempts, param_id, algo_version_id)"
        " VALUES (:at, :run_id, 'ann', 'c', 0.5, 1, :param, :v)"
    )
    with engine.begin() as conn:
        conn.execute(statement, values | {"run_id": None, "param": None, "v": 1})
    with pytest.raises(IntegrityError), engine.begin() as conn:
        conn.execute(statement, values)
    with pytest.raises(IntegrityError), engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE mastery_snapshot SET run_id = :r, param_id = :p, algo_version_id = :v"
            ),
            {"r": run_id, "p": param_id, "v": version},
        )


@pytest.mark.parametrize("table", ["bkt_run", "algo_versions"])
def test_what_only_a_snapshot_refers_to_stays(engine, table):
    at = {"at": STARTED.isoformat()}
    with engine.begin() as conn:
        start_run(conn, run_id="alone", kind="retrain", at=STARTED)
        conn.execute(
            text(
                "INSERT INTO algo_versions (algo_key, version, status, created_at)"
                " VALUES ('bkt', 'alone', 'RETIRED', :at)"
            ),
            at,
        )
        conn.execute(
            text(
                "INSERT INTO mastery_snapshot (snapshot_at, run_id, user_id, concept_id,"
                " p_mastery, n_attempts, algo_version_id) SELECT :at, 'alone', 'ann', 'c',"
                " 0.5, 1, id FROM algo_versions WHERE version = 'alone'"
            ),
            at,
        )
    name = {"bkt_run": "run_id", "algo_versions": "version"}[table]
    with pytest.raises(IntegrityError), engine.begin() as conn:
        conn.execute(text(f"DELETE FROM {table} WHERE {name} = 'alone'"))  # noqa: S608 - from the list above

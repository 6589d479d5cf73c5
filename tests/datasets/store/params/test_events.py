"""The history of decisions: what is read of it, by concept, run, version and time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from datasets.store.connections.engines import reading
from datasets.store.errors import RollbackError, UnknownAlgorithmError
from datasets.store.params.algorithms import algorithm, algorithm_by_id
from datasets.store.params.events import (
    EventDecision,
    NewEvent,
    events_of_run,
    history,
    is_pinned,
    last_switch,
    pinned_concepts,
    record_decisions,
    version_at,
)
from datasets.store.params.rollback import release, require_target
from datasets.store.params.skill_params import stored_params
from datasets.store.params.switching import Switch, SwitchRequest, switch_many
from datasets.store.runs.runs import start_run
from tests.datasets.store.writing import PARAMS, challenger, promote
from tests.moments import STARTED


def decide(engine, run_id, decision, *, concept="a", version=1, hours=0, kind="retrain"):
    """One event, whose run is begun if it is new; its id."""
    at = STARTED + timedelta(hours=hours)
    event = NewEvent(
        run_id=run_id, concept_id=concept, algo_version_id=version,
        decision=EventDecision(decision), from_param_id=None, to_param_id=None, actor="me",
        at=at,
    )  # fmt: skip
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind=kind, at=at)
        record_decisions(conn, [event])
    with reading(engine) as conn:
        return next(one.event_id for one in history(conn, concept) if one.run_id == run_id)


def test_events_are_read_by_concept_and_by_run_newest_first(engine):
    for run_id, concept in (("run-1", "a"), ("run-1", "b"), ("run-2", "a")):
        decide(engine, run_id, "kept", concept=concept)
    with reading(engine) as conn:
        assert [(e.run_id, e.concept_id) for e in events_of_run(conn, "run-1")] == [
            ("run-1", "b"), ("run-1", "a"),
        ]  # fmt: skip
        assert [e.run_id for e in history(conn, "a")] == ["run-2", "run-1"]
        assert events_of_run(conn, "run-9") == history(conn, "c") == ()


def test_the_last_switch_is_the_newest_event_that_moves_parameters(engine):
    """Of this version alone; what was kept, rejected or skipped moves nothing."""
    with reading(engine) as conn:
        assert last_switch(conn, 1) is None
    for number, decision in enumerate(("promoted", "rolled_back", "released", "activated")):
        moved = decide(engine, f"run-{number}", decision)
        decide(engine, f"other-{number}", decision, version=2)
        for kept in ("kept", "rejected", "skipped"):
            decide(engine, f"{kept}-{number}", kept)
        with reading(engine) as conn:
            assert last_switch(conn, 1) == moved


def test_the_version_at_a_time_is_that_of_the_last_decision_before_it(engine):
    """At the very moment as well; runs of candidates decide nothing of it."""
    with reading(engine) as conn:
        assert version_at(conn, STARTED) is None
    decide(engine, "run-1", "kept", version=1, hours=1)
    decide(engine, "run-2", "kept", version=1, hours=2)
    decide(engine, "trial", "kept", version=2, hours=3, kind="candidate")
    decide(engine, "run-3", "activated", version=2, hours=4)
    decide(engine, "run-4", "kept", version=2, hours=5)
    expected = {0: 1, 1: 1, 2: 1, 3: 1, 3.99: 1, 4: 2, 9: 2}
    with reading(engine) as conn:
        found = {h: version_at(conn, STARTED + timedelta(hours=h)) for h in expected}
    assert found == expected


def test_pins_are_of_a_version_and_end_with_a_release(engine):
    decide(engine, "run-1", "rolled_back", concept="a")
    decide(engine, "run-2", "rolled_back", concept="b")
    decide(engine, "run-3", "released", concept="b")
    decide(engine, "run-4", "rolled_back", concept="c", version=2)
    with reading(engine) as conn:
        assert pinned_concepts(conn, 1) == {"a"}
        assert pinned_concepts(conn, 1, among=["b", "c"]) == frozenset()
        assert pinned_concepts(conn, 2) == {"c"}
        assert (is_pinned(conn, "a", 1), is_pinned(conn, "b", 1)) == (True, False)


def test_a_release_is_done_once_and_only_of_what_is_pinned(engine):
    decide(engine, "run-1", "rolled_back")
    asked = {"concept_id": "a", "algo_version_id": 1, "at": STARTED, "actor": "me"}
    for run_id in ("free-1", "free-1"):
        with engine.begin() as conn:
            start_run(conn, run_id=run_id, kind="rollback", at=STARTED)
            release(conn, run_id=run_id, **asked)
    with reading(engine) as conn:
        assert [e.decision.value for e in history(conn, "a")] == ["released", "rolled_back"]
    with engine.begin() as conn:
        start_run(conn, run_id="free-2", kind="rollback", at=STARTED)
        with pytest.raises(RollbackError, match="must be pinned to be released"):
            release(conn, run_id="free-2", **asked)


def test_many_are_switched_at_once_each_against_its_own_incumbent(engine):
    """Winners, one that another run overtook, one that is pinned; a second call repeats all."""
    first = promote(engine, "run-1", "known").param_id
    promote(engine, "run-1", "overtaken")
    decide(engine, "back", "rolled_back", concept="pinned")
    expected = {"known": first, "new": None, "overtaken": None, "pinned": None}
    requests = [
        SwitchRequest(concept_id=name, challenger=challenger(PARAMS), expected_incumbent=row)
        for name, row in expected.items()
    ]
    for again in (Switch.PROMOTED, Switch.ALREADY_DONE):
        with engine.begin() as conn:
            start_run(conn, run_id="run-2", kind="retrain", at=STARTED)
            done = switch_many(conn, requests, run_id="run-2", algo_version_id=1, at=STARTED)
        assert {name: outcome.switch for name, outcome in done.items()} == {
            "known": again, "new": again, "overtaken": Switch.INCUMBENT_CHANGED,
            "pinned": Switch.PINNED,
        }  # fmt: skip
        assert [done[name].promoted for name in expected] == [True, True, False, False]
    with engine.begin() as conn:
        assert switch_many(conn, [], run_id="run-2", algo_version_id=1, at=STARTED) == {}
        assert stored_params(conn, first).is_active is False
        assert stored_params(conn, 999) is None
        assert sorted(e.concept_id for e in events_of_run(conn, "run-2")) == sorted(expected)


def test_a_target_is_another_row_of_the_concept_and_the_version(engine):
    """An id that no database could hold is that of no row, like the last one that it could."""
    mine = promote(engine, "run-1", "a").param_id
    with reading(engine) as conn:
        for beyond in (2**63 - 1, 2**63, 2**63 + 1, 2**70):
            with pytest.raises(RollbackError, match="there is none"):
                require_target(conn, "a", 1, beyond, mine)
        with pytest.raises(RollbackError, match="another algorithm version"):
            require_target(conn, "a", 2, mine, None)
        with pytest.raises(RollbackError, match=r"^The defaults are already in force"):
            require_target(conn, "a", 1, None, None)
        with pytest.raises(RollbackError, match=f"^Row {mine} is already in force"):
            require_target(conn, "a", 1, mine, mine)
        require_target(conn, "a", 1, mine, None)
        require_target(conn, "a", 1, None, mine)


def test_a_version_is_found_by_its_id(engine):
    with reading(engine) as conn:
        v2 = algorithm(conn, "v2")
        assert algorithm_by_id(conn, v2.id) == v2
        with pytest.raises(UnknownAlgorithmError, match="of id 99"):
            algorithm_by_id(conn, 99)

"""Going back by hand: all or nothing, finished where it was killed, and told."""

from __future__ import annotations

from getpass import getuser
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from bkt_core.errors import BadInputError, UsageError
from bkt_core.params import BktParams
from datasets.store.connections.engines import reading
from datasets.store.errors import IncumbentChangedError, RollbackError
from datasets.store.params.events import history
from datasets.store.params.skill_params import active_params, params_of_run
from datasets.store.runs.runs import RunStatus
from flows.actions import roll_back as operations
from flows.actions.roll_back import release_concepts, roll_back_concepts, roll_back_run
from flows.lifecycle.record import recorded
from tests.datasets.store.oracle import expected_states, stored_states
from tests.datasets.store.writing import PARAMS, promote
from tests.flows.support.standing import in_force, runs_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from flows.actions.roll_back import RollbackReport

OTHER = BktParams(p_L0=0.2, p_T=0.1, p_S=0.1, p_G=0.2)


def promoted_meanwhile(engine: Engine, concept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a night promote a concept after a rollback has looked, before it takes its lock."""

    def late(*arguments: Any, **named: Any) -> object:
        promote(engine, "run-late", concept)
        return recorded(*arguments, **named)

    monkeypatch.setattr(operations, "recorded", late)


def test_a_rollback_by_run_leaves_what_was_promoted_while_it_began(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    for concept in ("a", "b"):
        promote(engine, "run-1", concept, OTHER)
    promoted_meanwhile(engine, "b", monkeypatch)
    report = roll_back_run(settings, "run-1")
    assert [one.concept_id for one in report.rolled_back] == ["a"]
    assert report.left == {"b": in_force(engine)["b"]}
    assert list(in_force(engine)) == ["b"]
    with reading(engine) as conn:
        assert expected_states(conn).keys() == {(u, c) for u in ("ann", "bob") for c in "ab"}


def test_a_rollback_to_the_row_before_refuses_where_another_came_meanwhile(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    promote(engine, "run-1", "a", OTHER)
    promoted_meanwhile(engine, "a", monkeypatch)
    with pytest.raises(IncumbentChangedError, match="nothing was changed"):
        roll_back_concepts(settings, ["a"], to=None)
    with reading(engine) as conn:
        newest = active_params(conn, 1)["a"]
    assert newest.run_id == "run-late"
    ((status, said),) = runs_of(engine, "rollback")
    assert status is RunStatus.FAILED
    assert "must still be in force" in str(said)


def test_of_several_concepts_one_that_cannot_go_back_keeps_all_where_they_are(
    settings: Settings, engine: Engine
):
    first = promote(engine, "run-1", "a").param_id
    promote(engine, "run-2", "a", OTHER)
    theirs = promote(engine, "run-2", "b", OTHER).param_id
    before = in_force(engine)
    for to, error in (
        (str(first), RollbackError),
        ("seven", UsageError),
        ("9" * 30, RollbackError),
    ):
        with pytest.raises(error):
            roll_back_concepts(settings, ["a", "b"], to=to)
    with pytest.raises(UsageError, match="'nosuch'"):
        roll_back_concepts(settings, ["a", "nosuch"], to=None)
    with pytest.raises(RollbackError, match="already"):
        roll_back_concepts(settings, ["b"], to=str(theirs))
    with pytest.raises(BadInputError, match="no such run"):
        roll_back_run(settings, "run-9")
    with pytest.raises(BadInputError, match="2 runs begin with it"):
        roll_back_run(settings, "run")
    with pytest.raises(RollbackError, match="must be pinned"):
        release_concepts(settings, ["a"])
    assert in_force(engine) == before
    assert runs_of(engine, "rollback") == runs_of(engine, "release") == []


def test_what_went_back_is_pinned_swept_and_released(settings: Settings, engine: Engine):
    first = promote(engine, "run-1", "a").param_id
    promote(engine, "run-2", "a", OTHER)
    report = roll_back_concepts(settings, ["a", "a"], to=str(first))
    assert (len(report.rolled_back), report.states, report.problem) == (1, 2, None)
    assert in_force(engine) == {"a": first}
    with engine.begin() as conn:  # b was never swept
        conn.execute(text("DELETE FROM bkt_user_skill_state WHERE concept_id = 'b'"))
        conn.execute(text("DELETE FROM attempts WHERE concept_id = 'b'"))
    with reading(engine) as conn:
        assert stored_states(conn) == expected_states(conn)
    release_concepts(settings, ["a"])
    with pytest.raises(RollbackError, match="must be pinned"):
        release_concepts(settings, ["a"])
    assert [status for status, _ in runs_of(engine, "release")] == [RunStatus.DONE]


def killed_behind(n_switches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a rollback end without a word once it has switched so many concepts."""
    real, switched = operations.roll_back, []

    def switch_then_die(*arguments: Any, **named: Any) -> object:
        if len(switched) == n_switches:
            raise KeyboardInterrupt
        switched.append(real(*arguments, **named))
        return switched[-1]

    def die(*_: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operations, "roll_back", switch_then_die)
    monkeypatch.setattr(operations, "sweep", die)


@pytest.mark.slow
@pytest.mark.parametrize("n_switches", [1, 2])
@pytest.mark.parametrize("way", ["before", "row", "run"])
def test_a_rollback_that_was_killed_is_finished_by_the_same_command(
    way: str,
    n_switches: int,
    settings: Settings,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
):
    """Each concept goes back once, its states follow, MLflow follows, and one run did it."""
    for run in ("run-1", "run-2", "run-3"):
        for concept in ("a", "b"):
            promote(engine, run, concept, OTHER if run == "run-3" else PARAMS)
    with reading(engine) as conn:
        second = {
            concept: row.param_id for concept, row in params_of_run(conn, "run-2").items()
        }
    concepts, to = (["a"], str(second["a"])) if way == "row" else (["a", "b"], None)

    before = in_force(engine)

    def command() -> RollbackReport:
        if way == "run":
            return roll_back_run(settings, "run-3")
        return roll_back_concepts(settings, concepts, to=to)

    delivered: list[object] = []
    monkeypatch.setattr(operations, "update_champion_alias", lambda *_: delivered.append(1))
    with monkeypatch.context() as patched:
        killed_behind(min(n_switches, len(concepts)), patched)
        with pytest.raises(KeyboardInterrupt):
            command()
    assert delivered == []
    report = command()
    assert {one.concept_id: one.to_param_id for one in report.rolled_back} == {
        concept: second[concept] for concept in concepts
    }
    assert in_force(engine) == before | {concept: second[concept] for concept in concepts}
    assert (report.states, report.left, delivered) == (2 * len(concepts), {}, [1])
    assert [status for status, _ in runs_of(engine, "rollback")] == [RunStatus.DONE]
    if way == "before":  # and asked for once more, it goes back once more
        roll_back_concepts(settings, concepts, to=None)
        assert set(in_force(engine).values()).isdisjoint(second.values())


def test_a_killed_rollback_that_something_came_after_is_not_gone_on_with(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    first = promote(engine, "run-1", "a").param_id
    promote(engine, "run-2", "a", OTHER)
    with monkeypatch.context() as patched:
        killed_behind(1, patched)
        with pytest.raises(KeyboardInterrupt):
            roll_back_concepts(settings, ["a"], to=None)
    release_concepts(settings, ["a"])
    third = promote(engine, "run-3", "a", OTHER).param_id
    report = roll_back_concepts(settings, ["a"], to=None)
    ((one,), runs) = report.rolled_back, runs_of(engine, "rollback")
    assert (one.from_param_id, one.to_param_id) == (third, first)
    assert sorted(status for status, _ in runs) == [RunStatus.DONE, RunStatus.FAILED]


def test_a_rollback_says_what_is_in_force_where_the_run_is_not(
    settings: Settings, engine: Engine
):
    theirs = {c: promote(engine, "run-1", c, OTHER).param_id for c in ("a", "b")}
    roll_back_concepts(settings, ["a"], to="default")
    report = roll_back_run(settings, "run-1")
    assert (report.left, len(report.rolled_back)) == ({"a": None}, 1)
    assert theirs.keys() == {"a", "b"}
    assert in_force(engine) == {}
    for to in (None, "default"):
        with pytest.raises(RollbackError, match="already"):
            roll_back_concepts(settings, ["a"], to=to)
    with pytest.raises(UsageError, match=r"got 'aa'; did you mean 'a'\?"):
        roll_back_concepts(settings, ["aa"], to=None)


def test_who_asked_is_written_down(settings: Settings, engine: Engine):
    """The account that does it, unless it says for whom, as the service does."""
    promote(engine, "run-1", "a")
    roll_back_concepts(settings, ["a"], to="default", actor="olga")
    release_concepts(settings, ["a"], actor="olga")
    promote(engine, "run-2", "a")
    roll_back_run(settings, "run-2", actor="olga")
    release_concepts(settings, ["a"])
    with reading(engine) as conn:
        told = [(one.decision, one.actor) for one in history(conn, "a")]
    assert told == [
        ("released", getuser()),
        ("rolled_back", "olga"),
        ("promoted", "retrain"),
        ("released", "olga"),
        ("rolled_back", "olga"),
        ("promoted", "retrain"),
    ]

"""Staged values of versions with questions, history and gap are the replay, to the bit."""

from __future__ import annotations

from datetime import timedelta

from datasets.extracts.extraction import ExtractOptions, extract_attempts
from datasets.sequences.staged_states import StagedStates
from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.connections.engines import reading
from datasets.store.params.skill_params import params_of_run, with_question_odds
from datasets.store.states.sweep import sweep
from tests.datasets.store.attempts.test_stamps import forget
from tests.datasets.store.states.test_multipliers import (  # noqa: F401 - fixtures
    ROWS,
    assert_all,
    engine_and_params,
    expected,
    promote,
)
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED

NOW = STARTED + timedelta(days=1)


def test_staged_values_are_the_replay(engine_and_params, tmp_path):  # noqa: F811 - the fixture
    """With the odds of the run's rows; without details they are left to the log."""
    engine, params = engine_and_params
    import_rows(engine, ROWS)
    promote(engine, params)
    promote(engine, params, concept="c2", odds={"q3": 0.2})
    with reading(engine) as conn:
        stored = with_question_odds(conn, params_of_run(conn, "run-1"))
        wanted = expected(conn)
    rows = {concept: one.params for concept, one in stored.items()}
    bare = extract_attempts(engine, tmp_path, at=NOW)
    assert StagedStates(bare, rows).of_concept("c1") is None
    options = ExtractOptions(details=True)
    staged = StagedStates(extract_attempts(engine, tmp_path, at=NOW, options=options), rows)
    for concept in ("c1", "c2"):
        frame = staged.of_concept(concept)
        found = dict(zip(frame["user_id"], frame["p_mastery"], strict=True))
        assert found == {user: v[0] for (user, c), v in wanted.items() if c == concept}
    sweep(engine, at=STARTED, concepts=["c1", "c2"], run_id="run-1", staged=staged.of_concept)
    sweep(engine, at=STARTED)
    assert_all(engine)


def test_stamps_that_are_filled_make_states_stale_where_they_are_read(engine_and_params):  # noqa: F811
    """A state must be the replay of its attempts with the stamps that they have."""
    engine, params = engine_and_params
    import_rows(engine, ROWS)
    promote(engine, params)
    forget(engine)
    sweep(engine, at=STARTED, force=True)
    assert_all(engine)
    assert fill_stamps(engine, at=STARTED) == len(ROWS)
    swept = sweep(engine, at=STARTED)
    assert (swept.written > 0) is bool(params.weights)
    assert_all(engine)

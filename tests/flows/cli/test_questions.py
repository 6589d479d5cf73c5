"""`bkt questions`: what a version with questions says of a concept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bkt_core.family.params import FamilyParams
from datasets.store.params.algorithms import algorithm
from datasets.store.params.skill_params import Challenger
from datasets.store.params.switching import switch
from datasets.store.runs.runs import start_run
from flows.cli.app import run
from tests.datasets.store.writing import PARAMS
from tests.moments import STARTED

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


def fit_v4(engine: Engine, run_id: str, odds: dict[str, float], expected: int | None) -> int:
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="retrain", at=STARTED)
        done = switch(
            conn,
            run_id=run_id,
            concept_id="sums",
            algo_version_id=algorithm(conn, "v4").id,
            challenger=Challenger(
                params=FamilyParams(PARAMS, 0.05, question_odds=odds),
                n_attempts=50,
                n_users=5,
                fitted_at=STARTED,
                question_attempts=dict.fromkeys(odds, 7),
            ),
            expected_incumbent=expected,
            at=STARTED,
        )
    assert done.param_id is not None
    return done.param_id


def test_questions_are_told_hardest_first_with_what_they_were(
    settings: Settings, engine: Engine, capsys: pytest.CaptureFixture[str]
):
    del settings
    first = fit_v4(engine, "run-1", {"a": 2.0, "b": 0.5}, None)
    fit_v4(engine, "run-2", {"a": 1.5, "b": 0.4, "c": 3.0}, first)
    assert run(["questions", "sums", "--algo", "v4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [
        (one["question_id"], one["odds"], one["before"], one["n_attempts"])
        for one in told["questions"]
    ] == [("b", 0.4, 0.5, 7), ("a", 1.5, 2.0, 7), ("c", 3.0, None, 7)]
    assert run(["questions", "sums", "--algo", "v4", "--limit", "1"]) == 0
    shown = capsys.readouterr().out
    assert "3 questions under v4" in shown
    assert "0.400" in shown
    assert "1.500" not in shown  # neither the hardest nor the easiest


def test_what_has_no_questions_is_refused_with_what_to_do(
    settings: Settings, engine: Engine, capsys: pytest.CaptureFixture[str]
):
    del settings
    fit_v4(engine, "run-1", {"a": 2.0}, None)
    assert run(["questions", "sums"]) == 1
    assert "--algo" in capsys.readouterr().err  # v1 is in force
    assert run(["questions", "sum", "--algo", "v4"]) == 2
    assert "did you mean 'sums'?" in capsys.readouterr().err
    assert run(["questions", "sums", "--algo", "v5"]) == 1
    assert "no fitted parameters under v5" in capsys.readouterr().err

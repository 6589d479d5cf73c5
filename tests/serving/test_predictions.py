"""A prediction is what the next attempt is told it was predicted to be, in every version."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import insert, select, text

from bkt_core.errors import BadInputError
from bkt_core.family.params import FamilyParams
from datasets.store.connections.engines import reading
from datasets.store.schema.tables import AlgoParamsRow, AttemptRow, QuestionConceptRow
from serving import update_from_attempt
from serving.predictions import PredictRequest, predict_next_attempt
from tests.datasets.store.writing import PARAMS, promote
from tests.moments import STARTED
from tests.serving.calling import in_session

WEIGHTS = {"w_recent": 1.2, "w_long": -0.2, "w_share": 1.6, "w_gap": -0.4, "w_first": -0.3}
VERSIONS = {
    "v1": (PARAMS, {}),
    "v3": (FamilyParams(PARAMS, 0.06), {"forgetting": True}),
    "v4": (
        FamilyParams(PARAMS, 0.06, question_odds={"q1": 0.4}),
        {"forgetting": True, "questions": True},
    ),
    "v5": (
        FamilyParams(PARAMS, 0.06, WEIGHTS, {"q1": 0.4}),
        {"forgetting": True, "questions": True, "history": True, "gap": True},
    ),
}


@pytest.fixture(params=VERSIONS)
def version(engine, request):
    """A database in which the version is in force, with a row for fractions."""
    params, variant = VERSIONS[request.param]
    with engine.begin() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        settings = {"variant": variant} if variant else {}
        conn.execute(AlgoParamsRow.__table__.update().values(params=settings))
    promote(engine, "run-1", "fractions", params)
    return request.param


def predict(url, at, **asked):
    request = PredictRequest(user_id="ann", **asked)
    return in_session(url, lambda db: predict_next_attempt(db, request, at=at))


def answer(url, key, correct, at, question="q1"):
    return in_session(
        url,
        lambda db: update_from_attempt(
            db, "ann", question, "fractions", correct,
            idempotency_key=key, attempted_at=at, at=at,
        ),
    )  # fmt: skip


def test_the_next_attempt_was_predicted(engine, database_url, version):
    """At the first attempt, at once after the last, and days later; nothing is written."""
    for i, (minutes, question) in enumerate(
        [(0, "q1"), (1, "q2"), (1, "q1"), (9000, "q1"), (9001, "q3")]
    ):
        at = STARTED + timedelta(minutes=minutes)
        told = predict(database_url, at, question_id=question, concept_id="fractions")
        (one,) = told.predictions
        assert one.n_attempts == i
        assert one.question_odds == (0.4 if question == "q1" and version > "v3" else 1.0)
        with reading(engine) as conn:
            assert len(conn.execute(select(AttemptRow.id)).all()) == i
        done = answer(database_url, f"k{i}", i % 2 == 0, at, question)
        assert one.p_correct == done.bkt_metadata.p_correct_predicted
        assert one.p_mastery == done.p_mastery_prior
        assert one.param_id == done.bkt_metadata.param_id


def test_a_question_is_predicted_at_each_of_its_concepts(engine, database_url):
    with engine.begin() as conn:
        rows = [{"question_id": "q1", "concept_id": one} for one in ("sums", "fractions")]
        conn.execute(insert(QuestionConceptRow), rows)
    promote(engine, "run-1", "fractions")
    told = predict(database_url, STARTED, question_id="q1")
    assert [one.concept_id for one in told.predictions] == ["fractions", "sums"]
    fitted, defaults = told.predictions
    assert fitted.p_correct == PARAMS.p_L0 * (1 - PARAMS.p_S) + (1 - PARAMS.p_L0) * PARAMS.p_G
    assert (defaults.param_id, defaults.p_mastery, defaults.n_attempts) == (None, 0.1, 0)


def test_a_prediction_without_a_concept_is_refused(database_url):
    with pytest.raises(BadInputError, match="mapped to none"):
        predict(database_url, STARTED, question_id="q9")
    with pytest.raises(ValidationError, match="needs a concept_id"):
        PredictRequest(user_id="ann")

"""The list of bad input: each is answered as declared, and nothing of it is stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, text

from datasets.store.attempts.erasure import erase_user
from datasets.store.connections.engines import make_engine, reading
from datasets.store.schema.tables import AttemptRow, MasteryStateRow, QuestionConceptRow
from tests.moments import STARTED
from tests.serving.calling import NOW, ROOT, attempt, bearer, new_api


def n_attempts(url):
    engine = make_engine(url)
    with reading(engine) as conn:
        n = conn.execute(text("SELECT count(*) FROM attempts")).scalar()
    engine.dispose()
    return n


def assert_problem(answer, status):
    """A problem detail (RFC 9457) of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert {"type", "title", "detail", "instance"} <= set(body)
    return body


@pytest.mark.parametrize("correct", [1, 0, "true", "yes", 1.0, None, [], {}, 0.5])
def test_correctness_that_is_not_a_boolean(plain_api, sqlite_url, correct):
    assert_problem(plain_api.submit("k", correct=correct), 422)
    assert n_attempts(sqlite_url) == 0


MOMENTS = {
    "in the future": (NOW + timedelta(minutes=11)).isoformat(),
    "naive": "2026-03-01T12:00:00",
    "before 1970": "1969-12-31T23:59:59+00:00",
    "before 1970 by its offset": "1970-01-01T00:30:00+01:00",
    "year 1": "0001-01-01T00:00:00+14:00",
    "year 9999": "9999-12-31T23:59:59-14:00",
    "a number": 1_772_000_000,
    "a numeric text": "1772000000",
    "infinity": "infinity",
    "a date": "2026-03-01",
    "no time": "yesterday",
    "empty": "",
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_that_are_refused(plain_api, sqlite_url, name):
    assert_problem(plain_api.submit("k", attempted_at=MOMENTS[name]), 422)
    assert n_attempts(sqlite_url) == 0


@pytest.mark.parametrize("ago", [timedelta(minutes=-9), timedelta(0), timedelta(days=365 * 20)])
def test_moments_within_the_skew_or_years_old_are_accepted(plain_api, ago):
    assert plain_api.submit("k", attempted_at=(NOW - ago).isoformat()).status_code == 200


IDS = {
    "empty": "",
    "256 characters": "a" * 256,
    "1,001 bytes": "\U0001f600" * 250 + "x",
    "NUL": "a\0b",
    "lone surrogate": "a\ud800b",
    "a number": 7,
    "null": None,
    "a list": ["a"],
}


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("field", ["user_id", "concept_id", "question_id", "idempotency_key"])
def test_ids_that_cannot_be_stored(plain_api, sqlite_url, field, name):
    if IDS[name] is None and field in {"concept_id", "question_id"}:
        return  # null is normal there, as long as one of the two is named
    value = "\U0001f600" * 251 if name == "1,001 bytes" else IDS[name]
    assert_problem(plain_api.submit("k", **{field: value}), 422)
    assert n_attempts(sqlite_url) == 0


def test_an_attempt_without_a_concept(plain_api):
    assert_problem(plain_api.submit("k", concept_id=None), 422)
    assert_problem(plain_api.submit("k", concept_id=None, question_id="unmapped"), 422)


def test_unknown_fields_are_refused(plain_api):
    assert_problem(plain_api.submit("k", corect=True), 422)
    assert_problem(plain_api.get("/mastery", user_id="ann", concept_id="c"), 422)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_10_megabytes(plain_api, declared):
    """Whether its length is declared or comes in chunks."""
    blob = b'{"user_id": "' + b"a" * 10_000_000 + b'"}'
    chunks = (blob[i : i + 65_536] for i in range(0, len(blob), 65_536))

    async def streamed():
        for chunk in chunks:
            yield chunk

    answer = plain_api.http.post(
        f"{ROOT}/attempts",
        content=blob if declared else streamed(),
        headers=bearer() | {"Content-Type": "application/json"},
    )
    assert_problem(answer, 413)
    assert answer.json()["type"] == "urn:bkt:problem:body-too-large"


@pytest.mark.slow
def test_a_batch_of_10_000_attempts(sqlite_url):
    """Above the limit of the settings, above that of the document, and just at the limit."""
    api = new_api(sqlite_url, max_body_kib=10_000)
    with api.http.running():

        def batch(n):
            one = {"concept_id": "c", "correct": True}
            attempts = [one | {"idempotency_key": f"k{i}"} for i in range(n)]
            return api.post("/attempts/batch", {"user_id": "ann", "attempts": attempts})

        for n in (501, 10_000, 10_001):
            assert_problem(answer := batch(n), 413)
            assert answer.json()["type"] == "urn:bkt:problem:batch-too-large"
        assert n_attempts(sqlite_url) == 0
        assert batch(500).status_code == 200
    assert n_attempts(sqlite_url) == 500


def test_an_empty_batch(plain_api):
    assert_problem(plain_api.post("/attempts/batch", {"user_id": "a", "attempts": []}), 422)


def test_a_batch_with_one_bad_attempt_stores_none(api, engine):
    good = {"concept_id": "c", "correct": True, "idempotency_key": "k1"}
    bad = good | {"concept_id": None, "question_id": "unmapped", "idempotency_key": "k2"}
    answer = api.post("/attempts/batch", {"user_id": "ann", "attempts": [good, bad]})
    assert_problem(answer, 422)
    with reading(engine) as conn:
        for table in (AttemptRow, MasteryStateRow):
            assert conn.execute(select(func.count()).select_from(table)).scalar() == 0


NOT_JSON = [b"{", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}"]
NO_REQUEST = [b"", b"[]", b"null", b"7", b'"a"', b'{"a":1e999}']


@pytest.mark.parametrize(
    ("body", "status"), [(b, 400) for b in NOT_JSON] + [(b, 422) for b in NO_REQUEST]
)
def test_bodies_that_are_no_request(plain_api, body, status):
    answer = plain_api.http.post(
        f"{ROOT}/attempts",
        content=body,
        headers=bearer() | {"Content-Type": "application/json"},
    )
    assert_problem(answer, status)
    if status == 400:
        assert answer.json()["type"] == "urn:bkt:problem:not-json"


@pytest.mark.parametrize("called", ["text/plain", "application/xml", None])
def test_a_body_that_is_not_called_json(plain_api, called):
    headers = bearer() | ({"Content-Type": called} if called else {})
    answer = plain_api.http.post(f"{ROOT}/attempts", content=b"{}", headers=headers)
    assert_problem(answer, 415)
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("cursor", ["!", "é", "AA==", "QQ", "a" * 3000, "MDAwMS0wMS0wMQph"])
def test_cursors_that_are_not_ours(plain_api, cursor):
    for path, role, query in (
        ("/runs", "admin", {}),
        ("/mastery", "service", {"user_id": "a"}),
    ):
        answer = plain_api.get(path, role, cursor=cursor, **query)
        assert answer.status_code in {200, 422}


def test_unknown_ids_are_created_or_refused_as_the_settings_say(sqlite_url):
    rules = dict.fromkeys(("unknown_users", "unknown_concepts", "unknown_questions"), "refuse")
    api = new_api(sqlite_url)
    with api.http.running():
        known = api.submit("k1", question_id="q-unmapped")
        assert known.status_code == 200
    engine = make_engine(sqlite_url)
    with engine.begin() as conn:
        conn.execute(insert(QuestionConceptRow).values(question_id="q1", concept_id="ratios"))
    engine.dispose()
    strict = new_api(sqlite_url, **rules)
    with strict.http.running():
        assert_problem(strict.submit("k2", user_id="nobody"), 404)
        assert_problem(strict.submit("k2", concept_id="nothing"), 404)
        assert_problem(strict.submit("k2", question_id="q-unmapped"), 404)
        assert_problem(strict.get("/mastery", user_id="nobody"), 404)
        assert_problem(strict.get("/mastery", user_id="ann", concept_ids=["nothing"]), 404)
        assert_problem(strict.get("/params", "admin", concept_id="nothing"), 404)
        assert strict.submit("k2", concept_id="ratios", question_id="q1").status_code == 200
        assert strict.get("/mastery", user_id="ann").status_code == 200
    assert n_attempts(sqlite_url) == 2


def test_a_request_repeated_after_a_timeout(api, engine):
    """The same answer, and one attempt."""
    first, again = (api.submit("k1", create_snapshot=True) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json() | {"is_duplicate": True}
    with reading(engine) as conn:
        assert conn.execute(text("SELECT count(*) FROM attempts")).scalar() == 1
        assert conn.execute(text("SELECT count(*) FROM mastery_snapshot")).scalar() == 1


def test_a_key_of_another_attempt(api):
    """Of another user, or with another outcome: what was stored stays, and nobody is misled."""
    api.submit("k1")
    assert_problem(api.submit("k1", user_id="bob"), 409)
    assert_problem(api.submit("k1", correct=False), 409)
    assert api.get("/mastery", user_id="ann").json()["states"][0]["n_attempts"] == 1


def test_an_erased_user(api, engine):
    api.submit("k1")
    erase_user(engine, "ann", at=STARTED, actor="olga")
    assert_problem(api.submit("k2"), 410)
    assert api.get("/mastery", user_id="ann").json()["states"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/recompute", {}),
        ("/admin/recompute", {"everything": True, "user_id": "ann"}),
        ("/admin/recompute", {"concept_ids": ["c"] * 101}),
        ("/admin/retrain", {"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}),
        ("/admin/rollback", {}),
        ("/admin/rollback", {"concept_id": "c", "run_id": "r"}),
        ("/admin/rollback", {"concept_id": "c", "to": 0}),
        ("/admin/rollback", {"concept_id": "c", "to": 2**63}),
        ("/admin/rollback", {"concept_id": "c", "to": "something"}),
        ("/admin/rollback", {"run_id": "r", "to": 3}),
        ("/admin/rollback", {"run_id": "r", "release": True}),
        ("/admin/rollback", {"concept_id": "c", "to": 3, "release": True}),
        ("/admin/rollback", {"run_id": "--to=default"}),
        ("/admin/activate", {}),
        ("/admin/activate", {"version": ""}),
        ("/admin/activate", {"version": "--approve"}),
        ("/admin/activate", {"version": "v2\n"}),
        ("/admin/activate", {"version": "v" * 65}),
        ("/admin/activate", {"version": "v2", "approve": "yes"}),
    ],
)
def test_admin_requests_that_say_too_much_or_too_little(plain_api, path, body):
    assert_problem(plain_api.post(path, body, "admin"), 422)
    assert plain_api.launcher.orders == []


def test_what_is_not_there(plain_api):
    assert_problem(plain_api.http.get("/nothing"), 404)
    assert_problem(plain_api.http.request("DELETE", f"{ROOT}/attempts"), 405)
    assert_problem(plain_api.get("/runs/none", "admin"), 404)
    assert_problem(plain_api.get("/admin/launches/none", "admin"), 404)


def test_wire_attempts_are_what_the_tests_think(plain_api):
    """So that the refusals above are of what they name."""
    assert plain_api.post("/attempts", attempt("k")).status_code == 200

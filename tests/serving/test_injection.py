"""Hostile ids: stored and compared as they are, everywhere an id goes in."""

from __future__ import annotations

import pytest

from datasets.store.connections.engines import reading
from tests.datasets.store.oracle import expected_states, stored_states
from tests.serving.calling import ROOT, bearer

pytestmark = pytest.mark.slow


#: What has broken other services: SQL, shells, templates, paths, headers, odd Unicode.
CORPUS = [
    "'; DROP TABLE attempts; --",
    "' OR '1'='1",
    '" OR ""="',
    "1; SELECT pg_sleep(10)",
    "\\'; --",
    "%' OR 1=1 --",
    "%s%s%s%n",
    ":user_id",
    ":x OR 1=1",
    "$1",
    "?",
    "%(user_id)s",
    "{0.__class__}",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "../../../../etc/passwd",
    "..%2f..%2f",
    "/",
    "a/b?c=d&e#f",
    "--help",
    "-rf",
    "--to=default",
    "; rm -rf /",
    "$(touch /tmp/x)",
    "`id`",
    "| cat",
    "a\r\nSet-Cookie: x=1",
    "a\nb",
    "\t",
    " ",
    " a",
    "a ",
    "null",
    "None",
    "undefined",
    "true",
    "0",
    "-1",
    "NaN",
    "1e309",
    "é",  # one character
    "e\u0301",  # the same letter in two: another id
    "İ",
    "ß",
    "\u202eabc",  # right to left
    "\u200b",  # no width
    "\ufeff",
    "\x01\x1b[31m",
    "\x7f",
    "\U0001f600" * 63,
    "\uffff",
    "a" * 255,
    "\U0001f600" * 250,  # 1,000 bytes
    "__proto__",
    "[]",
    "{}",
    "*",
    "a,b",
    "a;b",
    "a|b",
]
#: Who asks, as a rollback is told.
ACTOR = "--actor=platform"
FIELDS = ["user_id", "concept_id", "question_id", "idempotency_key"]


@pytest.mark.parametrize("field", FIELDS)
def test_hostile_ids_come_back_as_they_went_in(api, engine, field):
    """Each id is its own: no two of the corpus meet, and nothing else changes."""
    for i, hostile in enumerate(CORPUS):
        stored = api.submit(f"{field}-{i}", **{field: hostile})
        assert stored.status_code == 200, (hostile, stored.text)
        told = stored.json()
        assert not told["is_duplicate"], hostile
        if field in {"user_id", "concept_id", "question_id"}:
            assert told[field] == hostile
    with reading(engine) as conn:
        states = stored_states(conn)
        assert states == expected_states(conn)
        if field in {"user_id", "concept_id"}:
            ids = {key[0 if field == "user_id" else 1] for key in states}
            assert ids == set(CORPUS)


def test_hostile_ids_are_read_as_they_are(api):
    for i, hostile in enumerate(CORPUS):
        api.submit(f"k{i}", user_id=hostile, concept_id=hostile)
    for hostile in CORPUS:
        read = api.get("/mastery", user_id=hostile, concept_ids=[hostile])
        assert read.status_code == 200
        (state,) = read.json()["states"]
        assert (read.json()["user_id"], state["concept_id"]) == (hostile, hostile)
        assert state["n_attempts"] == 1, hostile
        for path in ("/params", "/params/history"):
            answer = api.get(path, "admin", concept_id=hostile)
            assert answer.status_code == 200
            assert answer.json()["concept_id"] == hostile


def test_pages_hold_every_hostile_concept_once_and_in_the_order_of_bytes(api):
    for i, hostile in enumerate(CORPUS):
        api.submit(f"k{i}", concept_id=hostile)
    seen, cursor = [], None
    while True:
        page = api.get("/mastery", user_id="ann", limit=7, cursor=cursor).json()
        seen += [state["concept_id"] for state in page["states"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(CORPUS, key=str.encode)


def test_a_learner_named_like_another_reaches_only_their_own(api):
    """Ids that look alike are different users."""
    for own, other in (("é", "e\u0301"), ("ann", "ann "), ("ann", "ANN"), ("%", "ann")):
        answer = api.get("/mastery", "learner", sub=own, user_id=other)
        assert answer.status_code == 403


@pytest.mark.parametrize("hostile", CORPUS)
def test_hostile_ids_in_paths(plain_api, hostile):
    """Ids of runs and launches are names of ours: what is none is not found, or refused."""
    for path in ("/runs/", "/admin/launches/"):
        answer = plain_api.http.request(
            "GET", f"{ROOT}{path}{_escaped(hostile)}", headers=bearer("admin")
        )
        assert answer.status_code in {404, 422}


@pytest.mark.parametrize("hostile", CORPUS)
def test_hostile_ids_reach_a_command_as_values(plain_api, hostile):
    """One flag each, whose value cannot be taken for another flag; no shell sees it."""
    from serving.launcher import arguments

    bodies = {
        "/admin/recompute": ({"user_id": hostile}, f"--user={hostile}"),
        "/admin/retrain": ({"concept_ids": [hostile]}, f"--concept={hostile}"),
        "/admin/rollback": ({"concept_id": hostile}, f"--concept={hostile}"),
    }
    for path, (body, flag) in bodies.items():
        assert plain_api.post(path, body, "admin").status_code == 202
        assert [a for a in arguments(plain_api.launcher.orders[-1])[1:] if a != ACTOR] == [
            flag,
            "--json",
        ]


def _escaped(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")

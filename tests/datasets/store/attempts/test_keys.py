"""Ids that can be stored, and the keys of an attempt's rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bkt_core.errors import BadInputError
from datasets.store.attempts.erasure import delete_rows, erase_user, is_erased, lift
from datasets.store.attempts.keys import attempt_key
from datasets.store.attempts.new_attempt import NewAttempt, attempt_code
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED


def attempt(**changes):
    values = {
        "idempotency_key": "k", "user_id": "ann", "correct": 1, "attempted_at": STARTED,
    } | changes  # fmt: skip
    return NewAttempt(**values)


FROZEN_CODE = -1183176166341362817
FROZEN_KEY = "k1#f8998783fe5377ce"
#: Of 239 times `k`: one character more than leaves room for a mark.
FROZEN_HASH = "fcde8802dacd7134309bf6e1a1493d0676c159cb1e4bd739340e2eb85e0a7e1b"


@pytest.mark.parametrize("name", ["idempotency_key", "user_id", "question_id", "concept_ids"])
def test_an_id_is_as_long_as_the_databases_can_index(name):
    """At most 255 characters and 1,000 bytes, without what PostgreSQL cannot store."""

    def given(text):
        return {name: (text,) if name == "concept_ids" else text}

    for storable in ("", "é", "x" * 255, "\U0001f600" * 250):
        attempt(**given(storable))
    for bad in ("x" * 256, "\U0001f600" * 250 + "a", "a\0b", "\ud800"):
        with pytest.raises(BadInputError, match="An id must have at most") as refused:
            attempt(**given(bad))
        assert str(refused.value).endswith(f"got {bad[:40]!r}.")


@pytest.mark.parametrize("correct", [2, -1, 0.5])
def test_an_outcome_is_0_or_1(correct):
    with pytest.raises(BadInputError, match="correct must be 0 or 1"):
        attempt(correct=correct)
    assert [attempt(correct=right).correct for right in (0, 1, True)] == [0, 1, 1]


def test_codes_and_keys_never_change():
    """Stored rows have them; the first is that of the key itself, with no mark."""
    assert attempt_code("k1") == FROZEN_CODE
    assert attempt_key("k1", "fractions", 1) == "k1"
    assert attempt_key("k1", "fractions", 2) == FROZEN_KEY
    assert attempt_key("k" * 238, "fractions", 2) == "k" * 238 + FROZEN_KEY[2:]
    hashed = attempt_key("k" * 239, "fractions", 2)
    assert (hashed, len(hashed)) == (FROZEN_HASH + FROZEN_KEY[2:], 64 + 17)


def test_the_row_of_an_attempt_without_a_stamp_has_none():
    row = attempt().row("c", "k", None, at=datetime(2026, 1, 5, tzinfo=UTC))
    assert (row["recent_outcomes"], row["n_before"], row["n_right_before"]) == (None,) * 3
    assert attempt().row("c", "k", (5, 3, 2), at=STARTED)["n_right_before"] == 2


def test_an_erasure_that_was_lifted_deletes_nothing(engine):
    import_rows(engine, [{"user": "ann", "key": "a"}, {"user": "bob", "key": "b"}])
    done = erase_user(engine, "ann", at=STARTED, actor="me")
    assert (done.attempts, done.states, done.snapshots) == (1, 1, 0)
    with engine.begin() as conn:
        assert (is_erased(conn, "ann"), is_erased(conn, "bob")) == (True, False)
        assert (lift(conn, "ann"), lift(conn, "ann"), lift(conn, "bob")) == (True, False, False)
    with engine.begin() as conn:
        none = delete_rows(conn, "bob")
    assert (none.attempts, none.states, none.snapshots) == (0, 0, 0)

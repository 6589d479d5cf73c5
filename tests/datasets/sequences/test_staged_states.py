"""What is staged for a sweep is the replay of the log, with the versions of its moment."""

from __future__ import annotations

import polars as pl
import pytest
from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.extracts import buckets as row_buckets
from datasets.extracts import shards as extract_shards
from datasets.extracts.extraction import ExtractOptions, extract_attempts
from datasets.extracts.versions import states_of_shard
from datasets.sequences.staged_states import StagedStates
from datasets.store.states.sweep import STAGED
from tests.datasets.attempt_rows import NOW, Row, add, many
from tests.oracles.replay import mastery

BESIDE = ExtractOptions(compact_from=1e9, max_quarantine=1.0)
ODD = BktParams(p_L0=0.2, p_T=0.1, p_S=0.05, p_G=0.3)
EVEN = BktParams(p_L0=0.4, p_T=0.02, p_S=0.2, p_G=0.1)


@pytest.fixture
def small_shards(monkeypatch):
    """Several shards, and an external sort that has to spill and to cut."""
    monkeypatch.setattr(extract_shards, "SHARD_ROWS", 100)
    monkeypatch.setattr(row_buckets, "_CAPACITY", 8)
    monkeypatch.setattr(row_buckets, "SORTED_ROWS", 30)


def make_states(engine, *, but_not: str = "") -> None:
    """A state for each key that has none, each with a version of its own."""
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, n_attempts, "
                "algo_version_id, is_stale, version, updated_at) "
                "SELECT concept_id, user_id, 0.5, 0, 1, true, max(id) * 3, "
                "'2026-01-01 00:00:00.000000' FROM attempts WHERE user_id <> :but_not "
                "GROUP BY concept_id, user_id ON CONFLICT DO NOTHING"
            ),
            {"but_not": but_not},
        )


def params_of(concepts) -> dict[str, BktParams]:
    return {concept: EVEN if i % 2 else ODD for i, concept in enumerate(sorted(concepts))}


def expected(engine, params) -> dict[tuple[str, str], tuple[int, float, int, int]]:
    """(concept, user) -> version, mastery, attempts, last attempt, where there is a state."""
    histories: dict[tuple[str, str], list[tuple[int, int]]] = {}
    with engine.begin() as conn:
        rows = "SELECT concept_id, user_id, id, correct FROM attempts ORDER BY attempted_at, id"
        for concept, user, number, correct in conn.execute(text(rows)):
            histories.setdefault((concept, user), []).append((number, correct))
        states = conn.execute(
            text("SELECT concept_id, user_id, version FROM bkt_user_skill_state")
        )
        return {
            (concept, user): (
                version,
                mastery([c for _, c in histories[concept, user]], params[concept].as_tuple()),
                len(histories[concept, user]),
                histories[concept, user][-1][0],
            )
            for concept, user, version in states
            if concept in params and (concept, user) in histories
        }


def staged(extract, params) -> dict[tuple[str, str], tuple[int, float, int, int]]:
    stage = StagedStates(extract, params)
    found = {}
    for concept in stage.in_order(params):
        frame = stage.of_concept(concept)
        assert frame.columns == list(STAGED)
        users = frame["user_id"].to_list()
        assert users == sorted(users, key=str.encode)
        for user, version, p, n, _, last in frame.rows():
            found[concept, user] = (version, p, n, last)
    return found


@pytest.mark.usefixtures("small_shards")
def test_staged_values_are_the_replay_of_the_log_whatever_the_shards(engine, tmp_path):
    add(engine, *many(600))
    make_states(engine)
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert len(extract.shards) > 2
    params = params_of(extract.concepts["concept_id"].to_pylist())
    assert staged(extract, params) == expected(engine, params)


@pytest.mark.usefixtures("small_shards")
def test_staged_values_know_what_was_added_beside_a_base(engine, tmp_path):
    add(engine, *many(600))
    make_states(engine)
    extract_attempts(engine, tmp_path, at=NOW)
    add(engine, *many(90, seed=2), Row(user="new", concept="new"))
    make_states(engine)
    beside = extract_attempts(engine, tmp_path, at=NOW, options=BESIDE)
    assert beside.base is not None
    params = params_of(beside.concepts["concept_id"].to_pylist())
    assert staged(beside, params) == expected(engine, params)


def test_keys_without_a_state_or_with_broken_rows_are_left_to_a_replay(engine, tmp_path):
    future = Row(user="bob", minute=10**6)
    add(engine, Row(), Row(minute=1), Row(user="bob"), Row(user="carl"), future)
    make_states(engine, but_not="carl")
    extract = extract_attempts(engine, tmp_path, at=NOW, options=BESIDE)
    assert [user for _, user in staged(extract, {"fractions": ODD})] == ["ann"]


def test_a_concept_without_parameters_or_attempts_is_not_staged(engine, tmp_path):
    add(engine, Row(), Row(concept="decimals"))
    make_states(engine)
    stage = StagedStates(
        extract_attempts(engine, tmp_path, at=NOW), {"decimals": ODD, "unheard-of": ODD}
    )
    assert stage.of_concept("fractions") is None
    assert stage.of_concept("unheard-of") is None
    assert stage.in_order(["unheard-of", "fractions"])[-1] == "unheard-of"


def test_states_of_users_and_concepts_that_the_log_lacks_have_no_version(engine, tmp_path):
    add(engine, Row(), Row(user="gone", key="gone"), Row(concept="past", key="past"))
    make_states(engine)
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM attempts WHERE idempotency_key IN ('gone', 'past')"))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert pl.DataFrame(states_of_shard(extract, 0)).height == 1

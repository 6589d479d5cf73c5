"""What states must say, in plain Python from the rows; it imports nothing of ours."""

from __future__ import annotations

from sqlalchemy import Connection, text

from tests.oracles.replay import DEFAULTS, mastery


def expected_states(conn: Connection) -> dict[tuple[str, str], tuple[float, int, int | None]]:
    """(user, concept) -> (p_mastery, n_attempts, param_id), from attempts and active rows."""
    active = {
        row.concept_id: (row.id, (row.p_l0, row.p_t, row.p_s, row.p_g, row.p_f))
        for row in conn.execute(
            text(
                "SELECT p.* FROM bkt_skill_params p JOIN algo_versions v "
                "ON v.id = p.algo_version_id WHERE p.is_active AND v.status = 'ACTIVE'"
            )
        )
    }
    outcomes: dict[tuple[str, str], list[int]] = {}
    for row in conn.execute(
        text(
            "SELECT user_id, concept_id, correct FROM attempts WHERE concept_id IS NOT NULL "
            "ORDER BY attempted_at, id"
        )
    ):
        outcomes.setdefault((row.user_id, row.concept_id), []).append(row.correct)
    expected = {}
    for (user, concept), sequence in outcomes.items():
        param_id, params = active.get(concept, (None, DEFAULTS))
        expected[user, concept] = (mastery(sequence, params), len(sequence), param_id)
    return expected


def stored_states(conn: Connection) -> dict[tuple[str, str], tuple[float, int, int | None]]:
    """The same from the state table; stale rows raise."""
    stored = {}
    for row in conn.execute(text("SELECT * FROM bkt_user_skill_state")):
        assert not row.is_stale, (row.user_id, row.concept_id)
        stored[row.user_id, row.concept_id] = (row.p_mastery, row.n_attempts, row.param_id)
    return stored

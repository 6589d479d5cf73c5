"""The effect of an activation: mastery of all users under two versions, from the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

from bkt_core.family.params import has_multipliers
from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.params.skill_params import active_params
from datasets.store.states.attempt_facts import facts_of, with_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from datasets.store.params.algorithms import Algorithm
    from datasets.store.params.skill_params import StoredParams

_CONCEPTS = text("SELECT DISTINCT concept_id FROM bkt_user_skill_state ORDER BY concept_id")
_LOG = """
    SELECT a.user_id, a.correct, a.attempted_at {facts} FROM attempts a {odds}
    WHERE a.concept_id = :concept_id ORDER BY a.user_id, a.attempted_at, a.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionImpact:
    """Numbers of states above the mastery threshold, which each version sets for itself."""

    states: int
    mastered_before: int
    up: int
    down: int
    users: int
    #: Number of users with at least one state that would cross the threshold.
    users_crossing: int
    #: Mean of |mastery after - mastery before|.
    mean_move: float

    @property
    def share(self) -> float:
        """The share of users with at least one state that would cross the threshold."""
        return self.users_crossing / self.users if self.users else 0.0


def version_impact(conn: Connection, before: Algorithm, after: Algorithm) -> VersionImpact:
    """Replay every state under both versions, concept by concept, without writing."""
    was_fitted, now_fitted = active_params(conn, before.id), active_params(conn, after.id)
    users: set[str] = set()
    crossing: set[str] = set()
    states = mastered = up = down = 0
    moved = 0.0
    for (concept,) in conn.execute(_CONCEPTS).all():
        rows = _rows(conn, concept, None)
        if not rows:
            continue
        names = np.array([row.user_id for row in rows], dtype=object)
        begins = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
        sequences = AttemptSequences(
            np.array([row.correct for row in rows], dtype=np.int8),
            np.append(begins, len(rows)).astype(np.int64),
        )
        old, new = (
            _mastery(conn, sequences, concept, fitted.get(concept), algorithm)
            for fitted, algorithm in ((was_fitted, before), (now_fitted, after))
        )
        was = old >= before.params.mastery_threshold
        now = new >= after.params.mastery_threshold
        users.update(names[begins])
        crossing.update(names[begins][was != now])
        states += begins.size
        mastered += int(was.sum())
        up += int((~was & now).sum())
        down += int((was & ~now).sum())
        moved += float(np.abs(new - old).sum())
    return VersionImpact(
        states=states,
        mastered_before=mastered,
        up=up,
        down=down,
        users=len(users),
        users_crossing=len(crossing),
        mean_move=moved / states if states else 0.0,
    )


def _rows(conn: Connection, concept_id: str, param_id: int | None) -> Sequence[Any]:
    """Read the log of a concept, with the facts of attempts if a row's odds are wanted."""
    statement = with_facts(_LOG, ":param_id", wanted=param_id is not None)
    return conn.execute(statement, {"concept_id": concept_id, "param_id": param_id}).all()


def _mastery(
    conn: Connection,
    sequences: AttemptSequences,
    concept_id: str,
    row: StoredParams | None,
    algorithm: Algorithm,
) -> NDArray[np.float64]:
    """Return the mastery of each user under a row, or under the version's defaults."""
    if row is None:
        return replay(sequences, algorithm.params.defaults)
    if not has_multipliers(row.params):
        return replay(sequences, row.params)
    _, _, moments, *stored = zip(*_rows(conn, concept_id, row.param_id), strict=True)
    return replay(sequences, row.params, facts_of(sequences.offsets, moments, stored))

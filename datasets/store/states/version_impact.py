"""The effect of an activation: mastery of all users under two versions, from the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import text

from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.params.skill_params import active_params

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from datasets.store.params.algorithms import Algorithm

_CONCEPTS = text("SELECT DISTINCT concept_id FROM bkt_user_skill_state ORDER BY concept_id")
_LOG = text(
    "SELECT user_id, correct FROM attempts WHERE concept_id = :concept_id "
    "ORDER BY user_id, attempted_at, id"
)


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
        rows = conn.execute(_LOG, {"concept_id": concept}).all()
        if not rows:
            continue
        names = np.array([row.user_id for row in rows], dtype=object)
        begins = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
        sequences = AttemptSequences(
            np.array([row.correct for row in rows], dtype=np.int8),
            np.append(begins, len(rows)).astype(np.int64),
        )
        old, new = (
            replay(sequences, fitted[concept].params if concept in fitted else defaults)
            for fitted, defaults in (
                (was_fitted, before.params.defaults),
                (now_fitted, after.params.defaults),
            )
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

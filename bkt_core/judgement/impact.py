"""Count the users whom a change of parameters would move across the mastery threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.replay import replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bkt_core.family.params import Params
    from bkt_core.sequences import AttemptSequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """Numbers of users above the mastery threshold before and after a promotion."""

    n_users: int
    mastered_before: int
    up: int  # users who would gain mastery
    down: int  # users who would lose mastery

    @property
    def crossing(self) -> int:
        """The number of users who would gain or lose mastery."""
        return self.up + self.down

    @property
    def share(self) -> float:
        """The share of all users who would gain or lose mastery; 0 without users."""
        return self.crossing / self.n_users if self.n_users else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Impact:
        """Build an impact from the values that `as_json` returned."""
        return cls(**values)


def impact(
    sequences: AttemptSequences, *, before: Params, after: Params, threshold: float
) -> Impact:
    """Replay all users with both parameter sets and count those who cross `threshold`."""
    mastered_before = replay(sequences, before) >= threshold
    mastered_after = replay(sequences, after) >= threshold
    return Impact(
        n_users=sequences.n_users,
        mastered_before=int(np.count_nonzero(mastered_before)),
        up=int(np.count_nonzero(~mastered_before & mastered_after)),
        down=int(np.count_nonzero(mastered_before & ~mastered_after)),
    )

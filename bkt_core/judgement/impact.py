"""Whom a change of parameters would move across the mastery threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.replay import replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bkt_core.params import BktParams
    from bkt_core.sequences import AttemptSequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """Users on either side of the threshold, before a promotion and after."""

    n_users: int
    mastered_before: int
    up: int  # would become masters
    down: int  # would cease to be

    @property
    def crossing(self) -> int:
        """Users who would change sides."""
        return self.up + self.down

    @property
    def share(self) -> float:
        """Users who would change sides, of all."""
        return self.crossing / self.n_users if self.n_users else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes an equal impact."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Impact:
        """Read what `as_json` wrote."""
        return cls(**values)


def impact(
    sequences: AttemptSequences, *, before: BktParams, after: BktParams, threshold: float
) -> Impact:
    """Replay everybody under both parameter sets."""
    was = replay(sequences, before) >= threshold
    will_be = replay(sequences, after) >= threshold
    return Impact(
        n_users=sequences.n_users,
        mastered_before=int(np.count_nonzero(was)),
        up=int(np.count_nonzero(~was & will_be)),
        down=int(np.count_nonzero(was & ~will_be)),
    )

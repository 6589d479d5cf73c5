"""The attempts of all users at one concept, in two flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import InvalidSequencesError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class AttemptSequences:
    """User `i` owns `correct[offsets[i]:offsets[i + 1]]`, oldest attempt first.

    The arrays are read-only: attempts never change, and Numba compiles for one kind of array,
    whether it was read from a file or created in memory.
    """

    correct: NDArray[np.int8]  # (n_attempts,), 0 or 1
    offsets: NDArray[np.int64]  # (n_users + 1,), strictly increasing from 0 to n_attempts

    def __post_init__(self) -> None:
        correct, offsets = self.correct, self.offsets
        if correct.dtype != np.int8 or offsets.dtype != np.int64:
            raise InvalidSequencesError(
                "Sequences need int8 outcomes and int64 offsets, "
                f"got {correct.dtype} and {offsets.dtype}."
            )
        if offsets.size == 0 or offsets[0] != 0 or offsets[-1] != correct.size:
            raise InvalidSequencesError(
                f"Offsets must run from 0 to the {correct.size} attempts, "
                f"got {offsets[:1].tolist()} to {offsets[-1:].tolist()}."
            )
        if offsets.size > 1 and int((offsets[1:] - offsets[:-1]).min()) < 1:
            raise InvalidSequencesError("Every user needs at least one attempt.")
        if correct.size and not 0 <= int(correct.min()) <= int(correct.max()) <= 1:
            raise InvalidSequencesError("Every outcome must be 0 or 1.")
        for name, array in (("correct", correct), ("offsets", offsets)):
            fixed = np.ascontiguousarray(array).view()
            fixed.flags.writeable = False
            object.__setattr__(self, name, fixed)

    @property
    def n_attempts(self) -> int:
        """The number of attempts of all users."""
        return int(self.correct.size)

    @property
    def n_users(self) -> int:
        """The number of users, each with at least one attempt."""
        return int(self.offsets.size - 1)

    @property
    def n_correct(self) -> int:
        """The number of correct attempts of all users."""
        return int(np.count_nonzero(self.correct))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of attempts of each user, (n_users,)."""
        return self.offsets[1:] - self.offsets[:-1]

    def of_users(self, chosen: NDArray[np.bool_]) -> AttemptSequences:
        """Return the sequences of the users marked in `chosen`, (n_users,), in order."""
        lengths = self.lengths
        return AttemptSequences(
            correct=self.correct[np.repeat(chosen, lengths)],
            offsets=np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64),
        )

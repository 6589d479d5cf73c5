"""The stamp of an attempt: what was known of its user's earlier attempts when it was written.

An attempt's stamp follows from the stamp of its user's latest strictly earlier moment, with the
outcome of each attempt of that moment shifted in once, in order of id. Attempts of one moment
have the same stamp, so that no outcome is among the facts that predict it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bkt_core.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

#: A stamp holds so many outcomes.
MOST_RECENT = 62
_MARK, _KEPT = 1 << MOST_RECENT, (1 << (MOST_RECENT - 1)) - 1


class Stamp(NamedTuple):
    """What was known of a user before an attempt."""

    recent_outcomes: int  # up to 62 as bits, newest lowest, a 1 above the oldest
    n_before: int
    n_right_before: int

    def after(self, outcomes: Iterable[int]) -> Stamp:
        """The stamp of the next moment; one outcome per attempt, in order of id."""
        recent, n, n_right = self
        for correct in outcomes:
            kept = recent & ((1 << (MOST_RECENT - 1)) - 1)
            recent = (
                kept << 1 | correct | 1 << MOST_RECENT
                if recent >> MOST_RECENT
                else recent << 1 | correct
            )
            n, n_right = n + 1, n_right + correct
        return Stamp(recent, n, n_right)


#: The stamp of a user's first attempts.
NOTHING_BEFORE = Stamp(1, 0, 0)


class Log(NamedTuple):
    """Rows of attempts sorted by user, moment and id; each array (n_rows,)."""

    user: Counts  # codes
    moment: Counts
    attempt: Counts  # the same in rows of one attempt at several concepts
    correct: NDArray[np.int8]
    is_new: NDArray[np.bool_]  # whether the row is to be stamped


def stamp_log(log: Log, stored: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stamps (n_rows, 3) of the rows, from those stored; 0 stands for none.

    Rows that are not new keep theirs. A user's first row is taken for the first of all, unless
    it is not new. A new row has no stamp if the rows of the moment before it have none, or if
    a row of its own moment that is not new has none.
    """
    stamps = np.ascontiguousarray(stored, dtype=np.int64).copy()
    moments = np.empty(log.user.size, np.int64)
    if moments.size:
        starts = (np.diff(log.user) != 0) | (np.diff(log.moment) != 0)
        moments[0] = 0
        np.cumsum(starts, out=moments[1:])
    _stamp_rows(
        log.user, moments, _counted(moments, log.attempt), log.correct, log.is_new, stamps
    )
    return stamps


def _counted(moments: Counts, attempt: Counts) -> NDArray[np.bool_]:
    """Whether each row is the first of its attempt, (n_rows,)."""
    counted = np.ones(moments.size, np.bool_)
    shared = np.zeros(moments.size, np.bool_)
    shared[1:] = np.diff(moments) == 0
    shared[:-1] |= shared[1:]
    rows = np.flatnonzero(shared)  # of moments with several rows
    order = rows[np.lexsort((attempt[rows], moments[rows]))]  # stable: by id within an attempt
    repeats = (np.diff(attempt[order]) == 0) & (np.diff(moments[order]) == 0)
    counted[order[1:][repeats]] = False
    return counted


@kernel
def _stamp_rows(
    user: Counts,
    moment: Counts,
    counted: NDArray[np.bool_],
    correct: NDArray[np.int8],
    is_new: NDArray[np.bool_],
    stamps: Counts,
) -> None:
    """Fill the stamps (n_rows, 3) of new rows; 0 outcomes stand for no stamp.

    Rows are sorted by user, moment and id; `counted` marks the first row of each attempt.
    """
    recent, n, n_right = 1, 0, 0
    first = 0
    while first < user.size:
        if first == 0 or user[first] != user[first - 1]:
            recent, n, n_right = 1, 0, 0
        stop, found, missing = _moment_at(moment, is_new, stamps, first)
        if found >= 0:
            recent, n, n_right = stamps[found, 0], stamps[found, 1], stamps[found, 2]
        elif missing:
            recent = 0
        for i in range(first, stop):
            if is_new[i] and stamps[i, 0] == 0 and recent != 0:
                stamps[i, 0], stamps[i, 1], stamps[i, 2] = recent, n, n_right
        for i in range(first, stop):
            if counted[i] and recent != 0:
                recent = _shifted(recent, correct[i])
                n += 1
                n_right += correct[i]
        first = stop


@kernel
def _moment_at(
    moment: Counts, is_new: NDArray[np.bool_], stamps: Counts, first: int
) -> tuple[int, int, bool]:
    """Where the moment that begins at `first` ends, a row of it with a stamp, or -1.

    And whether a row of it that is not new has none.
    """
    stop, found, missing = first, -1, False
    while stop < moment.size and moment[stop] == moment[first]:
        if stamps[stop, 0] != 0:
            found = stop
        elif not is_new[stop]:
            missing = True
        stop += 1
    return stop, found, missing


@kernel
def _shifted(recent: int, correct: int) -> int:
    """The outcomes of a stamp with one more, the oldest dropped where it is full."""
    if recent >= _MARK:
        return (recent & _KEPT) << 1 | _MARK | correct
    return recent << 1 | correct

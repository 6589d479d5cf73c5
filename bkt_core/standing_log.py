"""The facts of attempts in a log without stored stamps, such as a file of test attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bkt_core.family.covariates import NO_STAMP, seconds_since_previous
from bkt_core.family.facts import AttemptFacts
from bkt_core.stamps import Log, stamp_log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]


class StandingLog(NamedTuple):
    """A log that holds every attempt of its users, in any order; each array (n_rows,)."""

    user: Counts  # codes
    concept: Counts  # codes
    moment: Counts  # microseconds
    attempt: Counts  # order of equal moments; the same in rows of one attempt
    correct: NDArray[np.int8]


def facts_of_log(log: StandingLog, question_odds: NDArray[np.float64]) -> AttemptFacts:
    """Return the facts of each row, in the order of the log.

    What a user did before is what the log has of them.
    """
    n = log.user.size
    by_time = np.lexsort((log.attempt, log.moment, log.user))
    stamps = np.empty((n, len(NO_STAMP)), np.int64)
    stamps[by_time] = stamp_log(
        Log(
            user=log.user[by_time],
            moment=log.moment[by_time],
            attempt=log.attempt[by_time],
            correct=log.correct[by_time],
            is_new=np.ones(n, np.bool_),
        ),
        np.zeros((n, len(NO_STAMP)), np.int64),
    )
    by_key = np.lexsort((log.attempt, log.moment, log.user, log.concept))
    starts = np.ones(n, np.bool_)
    starts[1:] = (np.diff(log.user[by_key]) != 0) | (np.diff(log.concept[by_key]) != 0)
    seconds = np.empty(n, np.int64)
    seconds[by_key] = seconds_since_previous(log.moment[by_key], starts)
    return AttemptFacts(
        question_odds=question_odds,
        recent=stamps[:, 0],
        n_before=stamps[:, 1],
        n_right_before=stamps[:, 2],
        seconds=seconds,
    )

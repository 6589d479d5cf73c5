"""The facts of attempts in statements that read the log, for versions with multipliers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import TextClause, text

from bkt_core.family.covariates import NO_STAMP, seconds_since_previous
from bkt_core.family.facts import AttemptFacts
from bkt_core.sequences import AttemptSequences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_FACTS = ", q.odds, a.recent_outcomes, a.n_before, a.n_right_before"
_ODDS = "LEFT JOIN bkt_question_params q ON q.param_id = {of} AND q.question_id = a.question_id"


@cache
def with_facts(statement: str, param_id: str, *, wanted: bool) -> TextClause:
    """Return a statement over attempts `a` with the columns of `facts_of`, or without.

    It has the places `{facts}` and `{odds}`; `param_id` is the expression of the row of
    parameters that the odds belong to.
    """
    facts, odds = (_FACTS, _ODDS.format(of=param_id)) if wanted else ("", "")
    return text(statement.format(facts=facts, odds=odds))


def facts_of(
    offsets: NDArray[np.int64], moments: Sequence[Any], stored: Sequence[Sequence[Any]]
) -> AttemptFacts:
    """Return the facts of the users whose attempts begin at `offsets` (n_users + 1,).

    `moments` are times as the driver returns them; `stored` are the columns that `with_facts`
    adds.
    """
    return facts_in(facts_frame(moments, stored), offsets)


def facts_frame(moments: Sequence[Any], stored: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return the same columns as a frame, for a log that is taken apart before its replay."""
    odds, recent, n_before, n_right = stored
    return pl.DataFrame(
        {
            "microseconds": _microseconds(moments),
            "question_odds": pl.Series(odds, dtype=pl.Float64).fill_null(1.0),
            "recent": _counts(recent, NO_STAMP[0]),
            "n_before": _counts(n_before, NO_STAMP[1]),
            "n_right_before": _counts(n_right, NO_STAMP[2]),
        }
    )


def facts_in(frame: pl.DataFrame, offsets: NDArray[np.int64]) -> AttemptFacts:
    """Return the facts of a `facts_frame` whose users begin at `offsets` (n_users + 1,)."""
    seconds = seconds_since_previous(frame["microseconds"].to_numpy(), offsets[:-1])
    return AttemptFacts(
        question_odds=frame["question_odds"].to_numpy(),
        recent=frame["recent"].to_numpy(),
        n_before=frame["n_before"].to_numpy(),
        n_right_before=frame["n_right_before"].to_numpy(),
        seconds=seconds,
    )


def facts_of_one(odds: float, stamp: Sequence[int] | None, seconds: int) -> AttemptFacts:
    """Return the facts of a single attempt, from its stamp and the odds of its question."""
    recent, n_before, n_right = NO_STAMP if stamp is None else stamp
    return AttemptFacts(
        question_odds=np.array([odds]),
        recent=np.array([recent]),
        n_before=np.array([n_before]),
        n_right_before=np.array([n_right]),
        seconds=np.array([seconds]),
    )


def one_user(outcomes: NDArray[np.int8]) -> AttemptSequences:
    """Return the sequences of a single user."""
    return AttemptSequences(outcomes, np.array([0, outcomes.size], dtype=np.int64))


def _microseconds(moments: Sequence[Any]) -> pl.Series:
    column = pl.Series(moments)
    if column.dtype == pl.String:  # as SQLite's driver returns them
        column = column.str.to_datetime("%Y-%m-%d %H:%M:%S%.6f", time_unit="us")
    return column.dt.epoch("us")


def _counts(values: Sequence[Any], default: int) -> pl.Series:
    return pl.Series(values, dtype=pl.Int64).fill_null(default)

"""Find users who answer faster than a person can: they are left out of fits and reported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from datasets.contracts import TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datasets.extracts.files import Extract

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flood:
    """The users above the configured rate, and their share of the log."""

    #: (n_users,) mask by code, as `shard_sequences(left_out=…)` takes it.
    users: NDArray[np.bool_]
    attempts: int
    #: Share of all attempts.
    share: float

    @property
    def n_users(self) -> int:
        """The number of users above the rate."""
        return int(self.users.sum())


def flooding_users(extract: Extract, *, per_hour: int) -> Flood:
    """Find users with more than `per_hour` attempts within sixty minutes, over all concepts.

    The sixty minutes may start at any attempt. First the few users who are above the rate over
    two consecutive clock hours are selected, then the times of their attempts are checked.
    """
    by_hour = pl.concat([_NO_HOURS, *(_hours(part) for part in _shards(extract))])
    by_hour = by_hour.group_by("user", "hour").agg(pl.col("n").sum()).sort("user", "hour")
    follows = (pl.col("user").shift(-1) == pl.col("user")) & (
        pl.col("hour").shift(-1) == pl.col("hour") + _HOUR
    )
    in_two = pl.col("n") + pl.when(follows).then(pl.col("n").shift(-1)).otherwise(0)
    suspects = by_hour.filter(in_two > per_hour).select("user").unique()
    above = _too_fast(extract, suspects, per_hour)
    users = np.zeros(extract.users.num_rows, np.bool_)
    users[above["user"].to_numpy()] = True
    attempts = int(by_hour.join(above, on="user", how="semi")["n"].sum())
    total = extract.rows.accepted
    return Flood(users=users, attempts=attempts, share=attempts / total if total else 0.0)


_NO_HOURS = pl.DataFrame(schema={"user": pl.Int32, "hour": TIME, "n": pl.Int64})


def _too_fast(extract: Extract, suspects: pl.DataFrame, per_hour: int) -> pl.DataFrame:
    """Return which of the suspects are above the rate, by the times of all their attempts."""
    if suspects.is_empty():
        return suspects
    theirs = pl.concat(
        [
            part.join(suspects.lazy(), on="user", how="semi").collect()
            for part in _shards(extract)
        ]
    ).sort("user", "attempted_at")
    same = pl.col("user").shift(-per_hour) == pl.col("user")
    within = pl.col("attempted_at").shift(-per_hour) - pl.col("attempted_at") < _HOUR
    return theirs.filter(same & within).select("user").unique()


def _hours(part: pl.LazyFrame) -> pl.DataFrame:
    """Count attempts per user and clock hour."""
    hours = part.group_by("user", hour=pl.col("attempted_at").dt.truncate("1h")).agg(n=pl.len())
    return hours.collect().cast({"n": pl.Int64})


def _shards(extract: Extract) -> list[pl.LazyFrame]:
    """Return user (code) and time of every attempt, one frame per shard and delta."""
    codes = extract.users_of_base
    frames = []
    for file in extract.shards:
        base = pl.scan_parquet(extract.shard_root / file.name)
        if codes is not None:
            ours = pl.lit(pl.Series("ours", codes))
            base = base.with_columns(user=ours.gather(pl.col("user")))
        parts = [base]
        if file.delta is not None:
            parts.append(pl.scan_parquet(extract.root / file.delta))
        frames.append(pl.concat([part.select("user", "attempted_at") for part in parts]))
    return frames

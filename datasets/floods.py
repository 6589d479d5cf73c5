"""Users who answer faster than a person can: left out of the fit, kept in state, reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from datasets.contracts import TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datasets.extract_files import Extract


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flood:
    """Who is above the declared rate, and how much of the log is theirs."""

    #: (n_users,) by code: what `shard_sequences(left_out=…)` takes.
    users: NDArray[np.bool_]
    attempts: int
    #: Of all attempts.
    share: float

    @property
    def n_users(self) -> int:
        """Users above the rate."""
        return int(self.users.sum())


def flooding_users(extract: Extract, *, per_hour: int) -> Flood:
    """Users with more than `per_hour` attempts in any one hour, over all concepts."""
    n_users = extract.users.num_rows
    counts = pl.concat(
        [pl.DataFrame(schema={"user": pl.Int32, "hour": TIME, "n": pl.UInt32})]
        + [_hours(extract, shard) for shard in range(len(extract.shards))]
    )
    by_hour = counts.group_by("user", "hour").agg(pl.col("n").sum())
    above = by_hour.group_by("user").agg(most=pl.col("n").max(), n=pl.col("n").sum())
    above = above.filter(pl.col("most") > per_hour)
    users = np.zeros(n_users, np.bool_)
    users[above["user"].to_numpy()] = True
    attempts = int(above["n"].sum())
    total = extract.rows.accepted
    return Flood(users=users, attempts=attempts, share=attempts / total if total else 0.0)


def _hours(extract: Extract, shard: int) -> pl.DataFrame:
    """Attempts per user and hour in one shard, its delta among them, by our codes."""
    file = extract.shards[shard]
    parts = [pl.scan_parquet(extract.shard_root / file.name)]
    codes = extract.users_of_base
    if codes is not None:
        ours = pl.Series("ours", codes)
        parts = [part.with_columns(user=pl.lit(ours).gather(pl.col("user"))) for part in parts]
    if file.delta is not None:
        parts.append(pl.scan_parquet(extract.root / file.delta))
    rows = pl.concat([part.select("user", "attempted_at") for part in parts])
    hours = rows.group_by("user", hour=pl.col("attempted_at").dt.truncate("1h")).agg(n=pl.len())
    return hours.collect().cast({"n": pl.UInt32})

"""The parameters in force at a time in the past, for replays up to that time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import bindparam, text

from bkt_core.family.params import has_multipliers
from datasets.store.params.algorithms import active_algorithm, algorithm_by_id
from datasets.store.params.events import version_at
from datasets.store.params.in_force import InForce
from datasets.store.params.skill_params import active_params, params_of_run, stored_params
from datasets.store.schema.types import UtcDateTime

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from datasets.store.params.skill_params import StoredParams

_SWITCHES = text(
    "SELECT concept_id, to_param_id FROM bkt_promotion_event "
    "WHERE algo_version_id = :algo_version_id "
    "AND decision IN ('promoted', 'rolled_back', 'activated') "
    "AND created_at <= :at ORDER BY id"
).bindparams(bindparam("at", type_=UtcDateTime()))


class Clock(StrEnum):
    """Which attempts count at a time in the past."""

    ANSWERED = "answered"  # attempted_at up to then, with current parameters or those of a run
    KNOWN = "known"  # created_at up to then, with the parameters in force at that time


@dataclass(frozen=True, slots=True)
class PastParams:
    """The parameters of each concept."""

    fitted: dict[str, InForce]
    defaults: InForce

    def of(self, concept_id: str) -> InForce:
        """Return those of one concept."""
        return self.fitted.get(concept_id, self.defaults)

    @property
    def multiply(self) -> bool:
        """Whether a replay needs the facts of attempts."""
        return any(has_multipliers(stamp.params) for stamp in self.fitted.values())

    @property
    def rows(self) -> pl.DataFrame:
        """The row of parameters of each fitted concept."""
        rows = [(concept, stamp.param_id) for concept, stamp in self.fitted.items()]
        schema = {"concept_id": pl.String, "param_id": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")


def past_params(
    conn: Connection, at: datetime, clock: Clock, params_of: str | None
) -> PastParams:
    """Return the parameters in force now or at that time; those of a run take precedence."""
    version = version_at(conn, at) if clock is Clock.KNOWN else None
    algorithm = active_algorithm(conn) if version is None else algorithm_by_id(conn, version)
    if clock is Clock.KNOWN:
        switches = conn.execute(_SWITCHES, {"algo_version_id": algorithm.id, "at": at})
        latest = {row.concept_id: row.to_param_id for row in switches}
        found = (stored_params(conn, row) for row in latest.values() if row is not None)
        stored = {row.concept_id: row for row in found if row is not None}
    else:
        stored = active_params(conn, algorithm.id)
    if params_of is not None:
        stored |= params_of_run(conn, params_of)
    return PastParams(
        {concept: _stamp(row) for concept, row in stored.items()},
        InForce(algorithm.id, None, algorithm.params.defaults, None),
    )


def _stamp(row: StoredParams) -> InForce:
    return InForce(row.algo_version_id, row.param_id, row.params, row.run_id)

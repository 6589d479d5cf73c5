"""The tables that can be exported: their columns, and their rows in batches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import ColumnElement, select

from bkt_core.errors import UsageError
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.in_force import in_force
from datasets.store.schema.tables import (
    AlgoVersionRow,
    AttemptRow,
    MasteryStateRow,
    PromotionEventRow,
    SkillParamsRow,
    SnapshotRow,
)
from datasets.store.states.reads import STATE_COLUMNS, mastery_of, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Select
    from sqlalchemy.orm import QueryableAttribute

#: Number of rows per batch.
BATCH = 20_000
_TIME = pa.timestamp("us", tz="UTC")


class Table(StrEnum):
    """The tables that `bkt export` writes."""

    ATTEMPTS = "attempts"
    STATES = "states"
    SNAPSHOTS = "snapshots"
    PARAMETERS = "parameters"
    EVENTS = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which rows are exported; an empty tuple or None does not restrict them."""

    concepts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    #: since <= time < until, by the time that the table is about.
    since: datetime | None = None
    until: datetime | None = None
    #: For parameters: also rows that are not in force, and rows of other versions.
    all_rows: bool = False


_SCHEMAS: Mapping[Table, pa.Schema] = MappingProxyType(
    {
        Table.ATTEMPTS: pa.schema(
            [
                ("attempt_id", pa.int64()), ("source", pa.string()), ("user_id", pa.string()),
                ("question_id", pa.string()), ("concept_id", pa.string()),
                ("correct", pa.int8()), ("attempted_at", _TIME), ("created_at", _TIME),
            ]
        ),
        Table.STATES: pa.schema(
            [
                ("user_id", pa.string()), ("concept_id", pa.string()),
                ("p_mastery", pa.float64()), ("n_attempts", pa.int64()),
                ("last_attempt_at", _TIME), ("param_id", pa.int64()),
                ("algo_version", pa.string()),
            ]
        ),
        Table.SNAPSHOTS: pa.schema(
            [
                ("snapshot_at", _TIME), ("run_id", pa.string()), ("user_id", pa.string()),
                ("concept_id", pa.string()), ("p_mastery", pa.float64()),
                ("n_attempts", pa.int64()), ("param_id", pa.int64()),
                ("algo_version", pa.string()),
            ]
        ),
        Table.PARAMETERS: pa.schema(
            [
                ("param_id", pa.int64()), ("concept_id", pa.string()),
                ("algo_version", pa.string()), ("p_L0", pa.float64()), ("p_T", pa.float64()),
                ("p_S", pa.float64()), ("p_G", pa.float64()), ("p_F", pa.float64()),
                ("n_attempts", pa.int64()), ("n_users", pa.int64()), ("fitted_at", _TIME),
                ("run_id", pa.string()), ("is_active", pa.bool_()), ("metrics", pa.string()),
            ]
        ),
        Table.EVENTS: pa.schema(
            [
                ("created_at", _TIME), ("run_id", pa.string()), ("concept_id", pa.string()),
                ("algo_version", pa.string()), ("decision", pa.string()),
                ("from_param_id", pa.int64()), ("to_param_id", pa.int64()),
                ("actor", pa.string()), ("reasons", pa.string()),
            ]
        ),
    }
)  # fmt: skip


def schema_of(table: Table) -> pa.Schema:
    """Return the columns of an export."""
    return _SCHEMAS[table]


def batches_of(conn: Connection, table: Table, filters: Filters) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table in the order of its key; states are those that readers see.

    Raises `UsageError` if a filter does not apply to the table.
    """
    _refuse_meaningless(table, filters)
    schema = _SCHEMAS[table]
    rows = conn.execution_options(stream_results=True).execute(_query(conn, table, filters))
    for part in rows.partitions(BATCH):
        tuples: Sequence[Sequence[Any]] = (
            _seen_by_readers(conn, part) if table is Table.STATES else part
        )
        columns = list(zip(*tuples, strict=True))
        yield pa.record_batch(
            [
                pa.array(map(_plain, values), field.type)
                for values, field in zip(columns, schema, strict=True)
            ],
            schema=schema,
        )


def _query(conn: Connection, table: Table, filters: Filters) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]]
    version = AlgoVersionRow.version
    if table is Table.ATTEMPTS:
        a = AttemptRow
        query = select(
            a.id, a.source, a.user_id, a.question_id, a.concept_id, a.correct, a.attempted_at,
            a.created_at,
        ).order_by(a.id)  # fmt: skip
        return query.where(*_where(filters, a.concept_id, a.user_id, a.attempted_at))
    if table is Table.STATES:
        state = MasteryStateRow
        query = select(state.user_id, version, *STATE_COLUMNS).join_from(
            state, AlgoVersionRow, AlgoVersionRow.id == state.algo_version_id
        )
        query = query.order_by(state.concept_id, state.user_id)
        return query.where(*_where(filters, state.concept_id, state.user_id))
    if table is Table.SNAPSHOTS:
        s = SnapshotRow
        query = select(
            s.snapshot_at, s.run_id, s.user_id, s.concept_id, s.p_mastery, s.n_attempts,
            s.param_id, version,
        ).join_from(s, AlgoVersionRow, AlgoVersionRow.id == s.algo_version_id)  # fmt: skip
        query = query.order_by(s.id)
        return query.where(*_where(filters, s.concept_id, s.user_id, s.snapshot_at))
    if table is Table.PARAMETERS:
        p = SkillParamsRow
        query = select(
            p.id, p.concept_id, version, p.p_l0, p.p_t, p.p_s, p.p_g, p.p_f, p.n_attempts,
            p.n_users, p.fitted_at, p.run_id, p.is_active, p.metrics,
        ).join_from(p, AlgoVersionRow, AlgoVersionRow.id == p.algo_version_id)  # fmt: skip
        if not filters.all_rows:
            query = query.where(p.is_active, p.algo_version_id == active_algorithm(conn).id)
        query = query.order_by(p.concept_id, p.id)
        return query.where(*_where(filters, p.concept_id, None, p.fitted_at))
    e = PromotionEventRow
    query = select(
        e.created_at, e.run_id, e.concept_id, version, e.decision, e.from_param_id,
        e.to_param_id, e.actor, e.reasons,
    ).join_from(e, AlgoVersionRow, AlgoVersionRow.id == e.algo_version_id)  # fmt: skip
    return query.order_by(e.id).where(*_where(filters, e.concept_id, None, e.created_at))


def _where(
    filters: Filters,
    concept: QueryableAttribute[str] | QueryableAttribute[str | None],
    user: QueryableAttribute[str] | None,
    at: QueryableAttribute[datetime] | None = None,
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.concepts:
        found.append(concept.in_(filters.concepts))
    if filters.users and user is not None:
        found.append(user.in_(filters.users))
    if filters.since is not None and at is not None:
        found.append(at >= filters.since)
    if filters.until is not None and at is not None:
        found.append(at < filters.until)
    return found


def _refuse_meaningless(table: Table, filters: Filters) -> None:
    if filters.users and table in (Table.PARAMETERS, Table.EVENTS):
        raise UsageError(f"--user does not apply to {table.value}: they are about concepts.")
    if table is Table.STATES and (filters.since or filters.until):
        raise UsageError(
            "--since and --until do not apply to states, which are the current ones; snapshots "
            "have a time."
        )
    if filters.all_rows and table is not Table.PARAMETERS:
        raise UsageError("--all goes with parameters.")


def _seen_by_readers(conn: Connection, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return states under the parameters in force; stale or old-stamped ones are replayed."""
    active = active_algorithm(conn).version
    stamps = {concept: in_force(conn, concept) for concept in {row.concept_id for row in rows}}
    found = []
    for user_id, _, *columns in rows:
        state = state_of(columns)
        now = mastery_of(conn, user_id, state, stamps[state.concept_id])
        found.append(
            (
                user_id, now.concept_id, now.p_mastery, now.n_attempts, now.last_attempt_at,
                now.param_id, active,
            )
        )  # fmt: skip
    return found


def _plain(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value

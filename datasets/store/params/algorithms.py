"""Read the algorithm version in force and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from bkt_core.params import AlgoParams
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.schema.tables import AlgoParamsRow, AlgoVersionRow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

#: The only algorithm of this pipeline.
ALGO_KEY = "bkt"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm version and its settings, which never change."""

    id: int
    key: str
    version: str
    params: AlgoParams


def active_algorithm(conn: Connection) -> Algorithm:
    """Return the version in force; raises `UnknownAlgorithmError` if there is none."""
    return _one(conn, AlgoVersionRow.status == "ACTIVE", asked=None)


def algorithm(conn: Connection, version: str) -> Algorithm:
    """Return a version by name, in force or not; raises `UnknownAlgorithmError`."""
    return _one(conn, AlgoVersionRow.version == version, asked=version)


def asked_algorithm(conn: Connection, version: str | None) -> Algorithm:
    """Return the version of that name, or the one in force if none is named."""
    return active_algorithm(conn) if version is None else algorithm(conn, version)


def algorithm_by_id(conn: Connection, algo_version_id: int) -> Algorithm:
    """Return a version by id, in force or not; raises `UnknownAlgorithmError`."""
    return _one(conn, AlgoVersionRow.id == algo_version_id, asked=f"of id {algo_version_id}")


def _one(conn: Connection, wanted: ColumnElement[bool], *, asked: str | None) -> Algorithm:
    row = conn.execute(
        select(
            AlgoVersionRow.id,
            AlgoVersionRow.algo_key,
            AlgoVersionRow.version,
            AlgoParamsRow.params,
        )
        .outerjoin(AlgoParamsRow, AlgoParamsRow.algo_version_id == AlgoVersionRow.id)
        .where(AlgoVersionRow.algo_key == ALGO_KEY, wanted)
    ).one_or_none()
    if row is None:
        known = conn.execute(
            select(AlgoVersionRow.version).where(AlgoVersionRow.algo_key == ALGO_KEY)
        ).scalars()
        raise UnknownAlgorithmError(version=asked, known=tuple(known))
    return Algorithm(row.id, row.algo_key, row.version, AlgoParams.from_json(row.params or {}))

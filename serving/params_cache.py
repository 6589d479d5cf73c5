"""A cache for read-only routes; updates read the active row under its lock instead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from datasets.store.online.queries import ConceptParams, concept_params
from datasets.store.schema.tables import AlgoVersionRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

#: Number of concepts in the cache; the oldest entry is dropped first.
MAX_CONCEPTS = 50_000


class ParamsCache:
    """Caches names of versions, which never change, and parameters for some seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._versions: dict[int, str] = {}
        self._params: dict[str, tuple[float, ConceptParams]] = {}

    def version_name(self, conn: Connection, algo_version_id: int) -> str:
        """Return the name of a version."""
        known = self._versions.get(algo_version_id)
        if known is None:
            known = version_name(conn, algo_version_id)
            self._versions[algo_version_id] = known
        return known

    def concept_params(self, conn: Connection, concept_id: str) -> ConceptParams:
        """Return the parameters in force, at most `seconds` old; not for updates."""
        until, found = self._params.get(concept_id, (0.0, None))
        if found is not None and self._clock() < until:
            return found
        fresh = concept_params(conn, concept_id)
        if len(self._params) >= MAX_CONCEPTS:
            self._params.pop(next(iter(self._params)))
        self._params[concept_id] = (self._clock() + self._seconds, fresh)
        return fresh


def version_name(conn: Connection, algo_version_id: int) -> str:
    """Read the name of a version from its row."""
    return conn.execute(
        select(AlgoVersionRow.version).where(AlgoVersionRow.id == algo_version_id)
    ).scalar_one()

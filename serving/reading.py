"""The reading half of the service layer: parameters in force, current and past mastery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from datasets.store.online.queries import MasteryThen, concept_params, mastery_now, mastery_then
from serving.schemas import BKTParamsResponse, MasteryStateResponse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection

    from serving.params_cache import ParamsCache

Database: TypeAlias = AsyncSession | AsyncConnection

#: More states than any user has; pages of the API are smaller.
ALL_STATES = 1_000_000


@dataclass(frozen=True, slots=True)
class MasteryPage:
    """Some of a user's mastery, and the threshold from which a concept is mastered."""

    threshold: float
    states: list[MasteryStateResponse]


async def get_active_params(
    db: Database, concept_id: str, *, cache: ParamsCache | None = None
) -> BKTParamsResponse:
    """Return the parameters in force and the level of the hierarchy they come from.

    With a cache they may be as old as it allows; do not use them for updates.
    """
    conn = await connection_of(db)
    read = cache.concept_params if cache else concept_params
    found = await conn.run_sync(read, concept_id)
    return BKTParamsResponse(
        concept_id=concept_id,
        level=found.level.value,
        algo_version=found.algo_version,
        param_id=found.param_id,
        run_id=found.run_id,
        fitted_at=found.fitted_at,
        **found.params.as_dict(),
    )


async def get_user_mastery(
    db: Database,
    user_id: str,
    concept_ids: Iterable[str] | None = None,
    *,
    as_of: datetime | None = None,
    after: str | None = None,
    limit: int = ALL_STATES,
    cache: ParamsCache | None = None,
) -> list[MasteryStateResponse]:
    """Return mastery by concept id: of the named concepts, or of all concepts with attempts.

    A named concept without attempts is returned with the p_L0 in force. With `as_of` it is left
    out, because nothing was known at that time.
    """
    page = await get_mastery_page(
        db, user_id, concept_ids, as_of=as_of, after=after, limit=limit, cache=cache
    )
    return page.states


async def get_mastery_page(
    db: Database,
    user_id: str,
    concept_ids: Iterable[str] | None = None,
    *,
    as_of: datetime | None = None,
    after: str | None = None,
    limit: int = ALL_STATES,
    cache: ParamsCache | None = None,
) -> MasteryPage:
    """Like `get_user_mastery`, with the threshold."""
    conn = await connection_of(db)
    named = sorted(set(concept_ids or ()), key=str.encode)
    named = [c for c in named if after is None or c.encode() > after.encode()][:limit]
    nothing = concept_ids is not None and not named

    def read(sync: Connection) -> MasteryPage:
        algorithm, states = mastery_now(
            sync,
            user_id,
            concept_ids=named,
            after=after,
            limit=0 if as_of is not None or nothing else limit,
        )
        if as_of is not None and not nothing:
            states = mastery_then(
                sync, user_id, as_of=as_of, concept_ids=named, after=after, limit=limit
            )
        found = {state.concept_id: state for state in states}
        for concept in named if as_of is None else ():
            if concept not in found:
                found[concept] = _before_any(sync, concept, cache)
        threshold = algorithm.params.mastery_threshold
        responses = [state_response(found[c], threshold) for c in sorted(found, key=str.encode)]
        return MasteryPage(threshold, responses)

    return await conn.run_sync(read)


async def connection_of(db: Database) -> AsyncConnection:
    """Return the connection given, or that of the session after flushing its changes."""
    if isinstance(db, AsyncConnection):
        return db
    await db.flush()
    return await db.connection()


def _before_any(conn: Connection, concept_id: str, cache: ParamsCache | None) -> MasteryThen:
    read = cache.concept_params if cache else concept_params
    return MasteryThen(
        concept_id=concept_id,
        p_mastery=read(conn, concept_id).params.p_L0,
        n_attempts=0,
        last_attempt_at=None,
        written_at=None,
    )


def state_response(state: MasteryThen, threshold: float) -> MasteryStateResponse:
    """Convert a state to a response."""
    return MasteryStateResponse(
        concept_id=state.concept_id,
        p_mastery=state.p_mastery,
        n_attempts=state.n_attempts,
        is_mastered=state.p_mastery >= threshold,
        last_attempt_at=state.last_attempt_at,
        updated_at=state.written_at,
    )

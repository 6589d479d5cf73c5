"""Routes that store attempts and return mastery and parameters: `/v1/learning/bkt/…`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from bkt_settings.serving import Unknown
from datasets.store.online.pages import (
    concept_is_known,
    history_page,
    question_is_known,
    user_is_known,
)
from serving.access import GuardedRoute, visit_of
from serving.mastery import (
    AttemptOfBatch,
    batch_update_from_attempts,
    update_from_attempt,
)
from serving.predictions import PredictRequest, PredictResponse, predict_next_attempt
from serving.problems import RefusedError, UnknownIdError
from serving.reading import get_active_params, get_mastery_page
from serving.routes.cursors import concept_after, cursor_of, event_before
from serving.schemas import (
    Attempt,
    BatchUpdateRequest,
    BatchUpdateResponse,
    BKTParams,
    BKTParamsResponse,
    GetMasteryRequest,
    GetMasteryResponse,
    GetParamsRequest,
    ParamsEventResponse,
    ParamsHistoryRequest,
    ParamsHistoryResponse,
    UpdateFromAttemptRequest,
    UpdateFromAttemptResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    from serving.service import Service

PREFIX = "/v1/learning/bkt"

router = APIRouter(prefix=PREFIX, route_class=GuardedRoute, tags=["learning"])


@router.post("/attempts", response_model=UpdateFromAttemptResponse)
async def submit_attempt(body: UpdateFromAttemptRequest, request: Request) -> Response:
    """Store one attempt and update mastery; after a timeout, retry with the same key."""
    service = _service(request)
    visit_of(request).require_user(body.user_id)
    _require_present(service, [body])

    async def work(session: AsyncSession) -> UpdateFromAttemptResponse:
        await _require_known(session, service, body.user_id, [body])
        return await update_from_attempt(
            session,
            body.user_id,
            body.question_id,
            body.concept_id,
            body.correct,
            idempotency_key=body.idempotency_key,
            attempted_at=body.attempted_at,
            create_snapshot=body.create_snapshot,
            cache=service.cache,
            at=service.clock(),
        )

    update = await service.database.write(work)
    _count(service, [update])
    return as_json(update)


@router.post("/attempts/batch", response_model=BatchUpdateResponse)
async def submit_batch(body: BatchUpdateRequest, request: Request) -> Response:
    """Store attempts of one user, all or none; they apply in the order of their times."""
    service = _service(request)
    visit_of(request).require_user(body.user_id)
    if len(body.attempts) > service.settings.max_batch:
        raise RefusedError(
            413,
            f"A batch may hold {service.settings.max_batch} attempts, it has "
            f"{len(body.attempts)}; send several.",
            kind="batch-too-large",
        )
    _require_present(service, body.attempts)

    async def work(session: AsyncSession) -> BatchUpdateResponse:
        await _require_known(session, service, body.user_id, body.attempts)
        updates = await batch_update_from_attempts(
            session,
            body.user_id,
            [AttemptOfBatch(**dict(attempt)) for attempt in body.attempts],
            cache=service.cache,
            at=service.clock(),
        )
        return BatchUpdateResponse(user_id=body.user_id, updates=updates)

    answer = await service.database.write(work)
    _count(service, answer.updates)
    return as_json(answer)


@router.get("/mastery", response_model=GetMasteryResponse)
async def read_mastery(
    asked: Annotated[GetMasteryRequest, Query()], request: Request
) -> Response:
    """Return a user's mastery by concept, now or, from the snapshots, at a time in the past."""
    service = _service(request)
    visit_of(request).require_user(asked.user_id)
    limit = min(asked.limit, service.settings.max_page)
    after = concept_after(asked.cursor)

    async def work(conn: AsyncConnection) -> GetMasteryResponse:
        await _require_known_ids(conn, service, asked.user_id, asked.concept_ids, ())
        page = await get_mastery_page(
            conn,
            asked.user_id,
            asked.concept_ids or None,
            as_of=asked.as_of,
            after=after,
            limit=limit + 1,
            cache=service.cache,
        )
        more = len(page.states) > limit
        return GetMasteryResponse(
            user_id=asked.user_id,
            as_of=asked.as_of,
            mastery_threshold=page.threshold,
            states=page.states[:limit],
            next_cursor=cursor_of(page.states[limit - 1].concept_id) if more else None,
        )

    return as_json(await service.database.read(work))


@router.get("/predict", response_model=PredictResponse)
async def predict(asked: Annotated[PredictRequest, Query()], request: Request) -> Response:
    """Return P(correct) of a user's next answer to a question; nothing is stored."""
    service = _service(request)
    visit_of(request).require_user(asked.user_id)
    concepts = () if asked.concept_id is None else (asked.concept_id,)
    questions = () if asked.question_id is None else (asked.question_id,)

    async def work(conn: AsyncConnection) -> PredictResponse:
        await _require_known_ids(conn, service, asked.user_id, concepts, questions)
        return await predict_next_attempt(conn, asked, at=service.clock(), cache=service.cache)

    return as_json(await service.database.read(work))


@router.get("/params", response_model=BKTParamsResponse)
async def read_params(
    asked: Annotated[GetParamsRequest, Query()], request: Request
) -> Response:
    """Return the parameters in force for a concept and the level they come from."""
    service = _service(request)

    async def work(conn: AsyncConnection) -> BKTParamsResponse:
        await _require_known_ids(conn, service, None, [asked.concept_id], ())
        return await get_active_params(conn, asked.concept_id, cache=service.cache)

    return as_json(await service.database.read(work))


@router.get("/params/history", response_model=ParamsHistoryResponse)
async def read_params_history(
    asked: Annotated[ParamsHistoryRequest, Query()], request: Request
) -> Response:
    """Return the decisions on a concept's parameters with reasons, newest first."""
    service = _service(request)
    limit = min(asked.limit, service.settings.max_page)
    before = event_before(asked.cursor)

    async def work(conn: AsyncConnection) -> ParamsHistoryResponse:
        await _require_known_ids(conn, service, None, [asked.concept_id], ())
        events = await conn.run_sync(
            history_page, asked.concept_id, before=before, limit=limit + 1
        )
        responses = [
            ParamsEventResponse(
                event_id=event.event_id,
                decision=event.decision,
                created_at=event.created_at,
                actor=event.actor,
                run_id=event.run_id,
                from_param_id=event.from_param_id,
                to_param_id=event.to_param_id,
                to_params=(BKTParams(**event.to_params.as_dict()) if event.to_params else None),
                reasons=event.reasons,
            )
            for event in events[:limit]
        ]
        more = len(events) > limit
        return ParamsHistoryResponse(
            concept_id=asked.concept_id,
            events=responses,
            next_cursor=cursor_of(str(responses[-1].event_id)) if more else None,
        )

    return as_json(await service.database.read(work))


def as_json(model: BaseModel, status: int = 200) -> Response:
    """Return the model as a response; it is serialised once."""
    return Response(
        model.model_dump_json(),
        status,
        {"Cache-Control": "no-store"},  # mastery of a user must not be cached
        media_type=JSONResponse.media_type,
    )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _require_present(service: Service, attempts: Iterable[Attempt]) -> None:
    latest = service.latest
    for attempt in attempts:
        if attempt.attempted_at is not None and attempt.attempted_at > latest:
            raise RefusedError(
                422,
                f"attempted_at must not be in the future, got "
                f"{attempt.attempted_at.isoformat()}; check the clock of the sender.",
                kind="in-the-future",
            )


async def _require_known(
    session: AsyncSession, service: Service, user_id: str, attempts: Iterable[Attempt]
) -> None:
    concepts = {a.concept_id for a in attempts if a.concept_id is not None}
    questions = {a.question_id for a in attempts if a.question_id is not None}
    conn = await session.connection()
    await _require_known_ids(conn, service, user_id, concepts, questions)


async def _require_known_ids(
    conn: AsyncConnection,
    service: Service,
    user_id: str | None,
    concept_ids: Iterable[str],
    question_ids: Iterable[str],
) -> None:
    """Raise `UnknownIdError` for ids that were never seen, if the settings refuse them."""
    rules = service.settings
    asked = (
        ("user", rules.unknown_users, user_is_known, () if user_id is None else (user_id,)),
        ("concept", rules.unknown_concepts, concept_is_known, concept_ids),
        ("question", rules.unknown_questions, question_is_known, question_ids),
    )
    for what, rule, is_known, came in asked:
        if rule is Unknown.CREATE:
            continue
        for one in came:
            if not await conn.run_sync(is_known, one):
                raise UnknownIdError(what=what, came=one)


def _count(service: Service, updates: Iterable[UpdateFromAttemptResponse]) -> None:
    for update in updates:
        outcome = "duplicate" if update.is_duplicate else "recorded"
        service.metrics.attempts.labels(outcome).inc()

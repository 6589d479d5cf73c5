"""Routes for operators: `/v1/learning/bkt/admin/…`, launches and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from datasets.store.online.pages import runs_page
from datasets.store.runs.runs import find_run
from serving.access import GuardedRoute, visit_of
from serving.launcher import Command, Launch, Order
from serving.problems import printable
from serving.routes.admin_schemas import (
    ActivateRequest,
    LaunchId,
    LaunchResponse,
    RecomputeMasteryRequest,
    RecomputeMasteryResponse,
    RetrainRequest,
    RollbackRequest,
    RunDetailResponse,
    RunId,
    RunResponse,
    RunsRequest,
    RunsResponse,
)
from serving.routes.cursors import cursor_of, run_after
from serving.routes.learning import PREFIX, as_json

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from serving.service import Service

#: Most characters of an actor in the history.
MAX_ACTOR = 255

router = APIRouter(prefix=PREFIX, route_class=GuardedRoute, tags=["admin"])


@router.post("/admin/recompute", status_code=202, response_model=RecomputeMasteryResponse)
async def start_recompute(body: RecomputeMasteryRequest, request: Request) -> Response:
    """Replay states: of some concepts, of one user, or all."""
    flags: list[tuple[str, str | bool]] = [("concept", c) for c in body.concept_ids]
    if body.user_id is not None:
        flags.append(("user", body.user_id))
    return await _launched(request, Order(Command.RECOMPUTE, tuple(flags)))


@router.post("/admin/retrain", status_code=202, response_model=LaunchResponse)
async def start_retrain(body: RetrainRequest, request: Request) -> Response:
    """Start a retraining run: fit, judge, promote, recompute."""
    flags: list[tuple[str, str | bool]] = [("concept", c) for c in body.concept_ids]
    if body.since is not None:
        flags.append(("since", body.since.isoformat()))
    if body.until is not None:
        flags.append(("until", body.until.isoformat()))
    if body.full:
        flags.append(("full", True))
    flags += [("approve", c) for c in body.approve_concept_ids]
    return await _launched(request, Order(Command.RETRAIN, tuple(flags)))


@router.post("/admin/rollback", status_code=202, response_model=LaunchResponse)
async def start_rollback(body: RollbackRequest, request: Request) -> Response:
    """Roll back: make older parameters active again, or remove the pin of a rollback."""
    flags: list[tuple[str, str | bool]] = []
    if body.concept_id is not None:
        flags.append(("concept", body.concept_id))
    if body.run_id is not None:
        flags.append(("run", body.run_id))
    if body.to is not None:
        flags.append(("to", str(body.to)))
    if body.release:
        flags.append(("release", True))
    flags.append(("actor", actor_of(request)))
    return await _launched(request, Order(Command.ROLLBACK, tuple(flags)))


@router.post("/admin/activate", status_code=202, response_model=LaunchResponse)
async def start_activation(body: ActivateRequest, request: Request) -> Response:
    """Put another algorithm version in force on evidence, or on a person's approval."""
    flags: list[tuple[str, str | bool]] = [("approve", True)] if body.approve else []
    flags.append(("actor", actor_of(request)))
    positional = (("version", body.version),)
    return await _launched(request, Order(Command.ACTIVATE, tuple(flags), positional))


@router.get("/admin/launches/{launch_id}", response_model=LaunchResponse)
async def follow_launch(launch_id: Annotated[LaunchId, Path()], request: Request) -> Response:
    """Return the state of work that this service started."""
    found = await _service(request).launcher.follow(launch_id)
    if found is None:
        raise HTTPException(404, "No launch with that id is remembered; look for its run.")
    return as_json(_as_wire(found))


@router.get("/runs", response_model=RunsResponse)
async def list_runs(asked: Annotated[RunsRequest, Query()], request: Request) -> Response:
    """List runs of every kind, newest first."""
    service = _service(request)
    limit = min(asked.limit, service.settings.max_page)
    after = run_after(asked.cursor)

    async def work(conn: AsyncConnection) -> RunsResponse:
        runs = await conn.run_sync(runs_page, after=after, limit=limit + 1)
        rows = [
            RunResponse(
                run_id=run.run_id,
                kind=run.kind,
                status=run.status,
                started_at=run.started_at,
                finished_at=run.finished_at,
            )
            for run in runs[:limit]
        ]
        last = rows[-1] if len(runs) > limit else None
        cursor = cursor_of(last.started_at.isoformat(), last.run_id) if last else None
        return RunsResponse(runs=rows, next_cursor=cursor)

    return as_json(await service.database.read(work))


@router.get("/runs/{run_id}", response_model=RunDetailResponse)
async def follow_run(run_id: Annotated[RunId, Path()], request: Request) -> Response:
    """Return one run with its status and its manifest."""

    async def work(conn: AsyncConnection) -> RunDetailResponse | None:
        run = await conn.run_sync(find_run, run_id)
        if run is None:
            return None
        return RunDetailResponse(
            run_id=run.run_id,
            kind=run.kind,
            status=run.status.value,
            started_at=run.started_at,
            finished_at=run.finished_at,
            manifest=run.manifest,
        )

    found = await _service(request).database.read(work)
    if found is None:
        raise HTTPException(404, "There is no run with that id.")
    return as_json(found)


def actor_of(request: Request) -> str:
    """Return the name in the token, which is stored in the history of a concept."""
    subject = visit_of(request).caller.subject
    return printable(subject).replace("\0", "")[:MAX_ACTOR] or "unnamed"


async def _launched(request: Request, order: Order) -> Response:
    service = _service(request)
    launch = await service.launcher.launch(order)
    service.metrics.launches.labels(launch.command.value, launch.via).inc()
    return as_json(_as_wire(launch), 202)


def _as_wire(launch: Launch) -> LaunchResponse:
    return LaunchResponse(
        launch_id=launch.launch_id,
        command=launch.command.value,
        via="prefect" if launch.via == "prefect" else "process",
        status=launch.status.value,
        started_at=launch.started_at,
        exit_code=launch.exit_code,
        run_id=launch.run_id,
        detail=launch.detail,
    )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service

"""The application factory: `serving.app:create_app`."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from bkt_settings.service import load_service_settings
from bkt_settings.telemetry import open_telemetry
from datasets.store.states.replays import warm_up
from serving import problems
from serving.observation.metrics import Measured
from serving.observation.tracing import Traced
from serving.routes import admin as admin_routes
from serving.routes import learning as learning_routes
from serving.routes import operations as operations_routes
from serving.routes.document import document_of
from serving.routes.limits import BodyLimit
from serving.service import build_service, now_utc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from fastapi.routing import APIRoute

    from bkt_settings.service import ServiceSettings
    from serving.launcher import Launcher

log = logging.getLogger("serving")

KIB = 1024


def create_app(
    settings: ServiceSettings | None = None,
    *,
    launcher: Launcher | None = None,
    clock: Callable[[], datetime] = now_utc,
) -> FastAPI:
    """Create the service, from the given settings or those of conf and the environment."""
    settings = settings or load_service_settings()
    service = build_service(settings, launcher=launcher, clock=clock)
    own, telemetry = service.settings, open_telemetry("bkt-service")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if service.access.tokens.issues_itself:
            log.warning(
                "no token_keys are set: tokens come from /v1/development/token, "
                "for this machine only, and end with this process"
            )
        warm_up()  # so that the first request does not wait for the compiler
        yield
        await service.close()
        if telemetry is not None:
            await asyncio.to_thread(telemetry.close)

    app = FastAPI(
        title="BKT service",
        version=version("bkt-pipeline"),
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_name,
    )
    app.state.service = service
    app.include_router(learning_routes.router)
    app.include_router(admin_routes.router)
    app.include_router(operations_routes.router)
    if service.access.tokens.issues_itself:
        app.include_router(operations_routes.development_router)
    problems.register(app)
    app.add_middleware(BodyLimit, max_bytes=own.max_body_kib * KIB)
    app.add_middleware(Measured, metrics=service.metrics)
    if telemetry is not None:
        app.add_middleware(Traced, telemetry=telemetry)
    # FastAPI documents that clients may replace this method to change the document.
    app.openapi = lambda: document_of(app, learners_submit=own.learners_submit)  # type: ignore[method-assign]
    return app


def _name(route: APIRoute) -> str:
    return route.name

"""Routes for operating the service: health, readiness, metrics and documentation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from serving.access import LOCAL, PUBLIC
from serving.routes.admin_schemas import DevelopmentTokenRequest, DevelopmentTokenResponse
from serving.routes.learning import as_json
from serving.routes.reference import CONTENT_SECURITY_POLICY, reference_page
from serving.schemas import ApiModel
from serving.tokens import is_local

if TYPE_CHECKING:
    from serving.service import Service


#: The scheme of a token in the header Authorization.
SCHEME: Literal["Bearer"] = "Bearer"


class Health(ApiModel):
    """The status of the service in one word."""

    status: str


class PublicRoute(APIRoute):
    """A route without a token; it can be created only if it is declared public."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler without a check."""
        if self.name not in PUBLIC | LOCAL:
            raise LookupError(f"the route {self.name!r} is not declared public")
        return super().get_route_handler()


router = APIRouter(route_class=PublicRoute, tags=["operations"])
development_router = APIRouter(route_class=PublicRoute, tags=["development"])


@router.get("/health", response_model=Health)
async def health() -> Response:
    """Report that the process answers; nothing else is checked."""
    return as_json(Health(status="ok"))


@router.get("/ready", response_model=Health)
async def readiness(request: Request) -> Response:
    """Report whether the database answers with the schema of this program; 503 if not."""
    await _service(request).database.require_ready()
    return as_json(Health(status="ready"))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return counts and times for Prometheus; labels contain no ids."""
    service = _service(request)
    await service.nights.refresh()
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
async def openapi_document(request: Request) -> Response:
    """Return the OpenAPI document, from which clients can be generated."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
async def reference(request: Request) -> Response:
    """Return the same document as a page for people, without scripts."""
    page = reference_page(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@development_router.post("/v1/development/token", response_model=DevelopmentTokenResponse)
async def issue_development_token(body: DevelopmentTokenRequest, request: Request) -> Response:
    """Issue a token of this process for this machine; only while the service has no key."""
    if not is_local(request):
        raise HTTPException(403, "Development tokens are issued on this machine only.")
    token, expires_at = _service(request).access.tokens.issue(
        body.sub, body.role, timedelta(minutes=body.minutes)
    )
    answer = DevelopmentTokenResponse(
        access_token=token, token_type=SCHEME, expires_at=expires_at
    )
    return as_json(answer)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service

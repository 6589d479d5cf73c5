"""The table of who may call which route; it is checked before a body is read."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from serving.tokens import Caller, Role, TokenRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from serving.tokens import Tokens


class Reach(StrEnum):
    """Whose data a role can access through a route."""

    OWN = "own"  # the user that the token names
    ANY = "any"


#: Every route that needs a token, with the reach of each role. A role that is not listed is
#: refused. A route that is neither in this table nor in the next one cannot be created.
ACCESS: Mapping[str, Mapping[Role, Reach]] = MappingProxyType(
    {
        "submit_attempt": {Role.LEARNER: Reach.OWN, Role.SERVICE: Reach.ANY},
        "submit_batch": {Role.LEARNER: Reach.OWN, Role.SERVICE: Reach.ANY},
        "read_mastery": {Role.LEARNER: Reach.OWN, Role.SERVICE: Reach.ANY},
        "predict": {Role.LEARNER: Reach.OWN, Role.SERVICE: Reach.ANY},
        "read_params": {Role.ADMIN: Reach.ANY},
        "read_params_history": {Role.ADMIN: Reach.ANY},
        "start_recompute": {Role.ADMIN: Reach.ANY},
        "start_retrain": {Role.ADMIN: Reach.ANY},
        "start_rollback": {Role.ADMIN: Reach.ANY},
        "start_activation": {Role.ADMIN: Reach.ANY},
        "follow_launch": {Role.ADMIN: Reach.ANY},
        "list_runs": {Role.ADMIN: Reach.ANY},
        "follow_run": {Role.ADMIN: Reach.ANY},
    }
)

#: Routes that need no token; none of them shows data of a user or a concept.
PUBLIC = frozenset({"health", "readiness", "metrics", "openapi_document", "reference"})
#: Routes that only this machine may call, and only while the service has no key.
LOCAL = frozenset({"issue_development_token"})
#: Routes that a learner may not call if only the platform submits attempts.
SUBMITTING = frozenset({"submit_attempt", "submit_batch"})


def access_table(*, learners_submit: bool) -> dict[str, dict[Role, Reach]]:
    """Return the table with these settings applied."""
    return {
        operation: {
            role: reach
            for role, reach in rules.items()
            if learners_submit or role is not Role.LEARNER or operation not in SUBMITTING
        }
        for operation, rules in ACCESS.items()
    }


class AccessControl:
    """Admits callers according to the table."""

    def __init__(self, tokens: Tokens, *, learners_submit: bool) -> None:
        self.tokens = tokens
        self._table = access_table(learners_submit=learners_submit)

    def admit(self, request: Request, operation: str) -> Visit:
        """Return who is calling and their reach on this route; raises 401 or 403."""
        caller = self._caller(request)
        rules = self._table.get(operation, {})
        reach = rules.get(caller.role) if caller.role else None
        if reach is None:
            raise HTTPException(403, "The role of this token may not do this.")
        return Visit(caller, reach)

    def _caller(self, request: Request) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthenticated("This needs a bearer token in the header Authorization.")
        try:
            return self.tokens.caller(token.strip())
        except TokenRefusedError as error:
            raise _unauthenticated(str(error), error="invalid_token") from error


class Visit:
    """One admitted request."""

    __slots__ = ("caller", "reach")

    def __init__(self, caller: Caller, reach: Reach) -> None:
        self.caller = caller
        self.reach = reach

    def require_user(self, user_id: str) -> None:
        """Raise 403 for another user's data if the caller may access only their own."""
        if self.reach is not Reach.ANY and user_id != self.caller.subject:
            raise HTTPException(403, "This token reaches only the user that it names.")


class GuardedRoute(APIRoute):
    """A route that checks the table before its body is read; it needs an entry there."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, preceded by the check."""
        handle = super().get_route_handler()
        operation = self.name
        if operation not in ACCESS:
            raise LookupError(f"the route {operation!r} has no line in the access table")

        async def guarded(request: Request) -> Response:
            request.state.visit = request.app.state.service.access.admit(request, operation)
            return await handle(request)

        return guarded


def visit_of(request: Request) -> Visit:
    """Return the visit that the check stored for this request."""
    visit = request.state.visit
    if not isinstance(visit, Visit):
        raise TypeError("the route did not check access")
    return visit


def _unauthenticated(detail: str, *, error: str | None = None) -> HTTPException:
    challenge = f'Bearer realm="bkt", error="{error}"' if error else 'Bearer realm="bkt"'
    return HTTPException(401, detail, {"WWW-Authenticate": challenge})

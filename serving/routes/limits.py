"""Refuse requests that are too large before they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from serving.problems import RefusedError, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Limits the size of request bodies, by the declared length and by the bytes received."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._refusal = f"A request may have at most {max_bytes} bytes; send less at a time."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on requests whose body is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            refusal = problem(
                413, self._refusal, kind="body-too-large", headers={"Connection": "close"}
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise RefusedError(
                    413, self._refusal, kind="body-too-large", headers={"Connection": "close"}
                )
            return message

        return counted

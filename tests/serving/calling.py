"""Short ways to run the service and to call it, for tests."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import jwt
from anyio.from_thread import start_blocking_portal
from sqlalchemy.ext.asyncio import async_sessionmaker

from bkt_settings.reading import read_settings
from bkt_settings.service import ServiceSettings
from datasets.store.connections.engines import make_async_engine
from serving.app import create_app
from serving.launcher import Command, Launch, Order, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

KEY = "a key of the tests, long enough for HS256"
ROOT = "/v1/learning/bkt"
#: The service's clock in tests: later than every attempt that is not meant to be in the future.
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def service_settings(database_url: str, **serving: Any) -> ServiceSettings:
    """The settings of conf with a key, and with what a test changes."""
    return read_settings(
        ServiceSettings,
        database_url=database_url,
        serving={"token_keys": [KEY]} | serving,
    )


def token(role: str | None = "service", sub: str = "platform", key: str = KEY, **claims) -> str:
    """A token as its issuer would make it; a claim of None is left out."""
    expires_at = datetime.now(UTC) + timedelta(minutes=5)
    said = {"sub": sub, "role": role, "exp": int(expires_at.timestamp())} | claims
    return jwt.encode({k: v for k, v in said.items() if v is not None}, key, algorithm="HS256")


def bearer(role: str | None = "service", sub: str = "platform", **claims) -> dict[str, str]:
    """The header of a call in a role."""
    return {"Authorization": f"Bearer {token(role, sub, **claims)}"}


@dataclass
class FakeLauncher:
    """Remembers orders and starts nothing."""

    orders: list[Order] = field(default_factory=list)
    closed: bool = False

    async def launch(self, order: Order) -> Launch:
        """Note it."""
        self.orders.append(order)
        return self._launch(len(self.orders) - 1)

    async def follow(self, launch_id: str) -> Launch | None:
        """Running, for ever."""
        known = [self._launch(i) for i in range(len(self.orders))]
        return next((launch for launch in known if launch.launch_id == launch_id), None)

    async def close(self) -> None:
        """Note it."""
        self.closed = True

    def _launch(self, i: int) -> Launch:
        return Launch(
            launch_id=f"launch-{i}",
            command=Command(self.orders[i].command),
            via="process",
            status=Status.RUNNING,
            started_at=NOW,
        )


class Http:
    """Calls an application in this process, from tests that are not asynchronous."""

    def __init__(self, app: FastAPI, *, client: str = "127.0.0.1") -> None:
        self._app = app
        transport = httpx.ASGITransport(
            app, raise_app_exceptions=False, client=(client, 50_000)
        )
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self._portal: Any = None

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One call, and its whole answer."""
        return self._portal.call(partial(self._client.request, method, path, **more))

    def get(self, path: str, **more: Any) -> httpx.Response:
        """One GET."""
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """One POST."""
        return self.request("POST", path, **more)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The application between its start and its end."""
        with start_blocking_portal() as portal:
            self._portal = portal
            with portal.wrap_async_context_manager(
                self._app.router.lifespan_context(self._app)
            ):
                yield


@dataclass
class Api:
    """The service in this process, and calls in a role."""

    app: FastAPI
    http: Http
    launcher: FakeLauncher

    def post(self, path: str, body: Any, role: str = "service", **who: Any) -> httpx.Response:
        """One POST in a role."""
        headers = bearer(role, **who) | {"Content-Type": "application/json"}
        return self.http.post(f"{ROOT}{path}", content=json.dumps(body), headers=headers)

    def get(self, path: str, role: str = "service", *, sub: str = "platform", **query: Any):
        """One GET in a role."""
        query = {name: value for name, value in query.items() if value is not None}
        return self.http.get(f"{ROOT}{path}", params=query, headers=bearer(role, sub))

    def submit(self, key: str, **fields: Any) -> httpx.Response:
        """One attempt of ann's, unless told otherwise."""
        return self.post("/attempts", attempt(key, **fields))


def attempt(key: str, **fields: Any) -> dict[str, Any]:
    """A body for one attempt."""
    return {
        "user_id": "ann",
        "concept_id": "fractions",
        "correct": True,
        "idempotency_key": key,
    } | fields


def new_api(database_url: str, **serving: Any) -> Api:
    """A service that is not running yet: use `running(api)`."""
    launcher = FakeLauncher()
    app = create_app(
        service_settings(database_url, **serving), launcher=launcher, clock=lambda: NOW
    )
    return Api(app, Http(app), launcher)


def in_session(url: str, work: Any, *, commit: bool = True) -> Any:
    """Run `work(session)` in a transaction of the caller's, as a platform would."""

    async def run() -> Any:
        engine = make_async_engine(url)
        try:
            async with async_sessionmaker(engine)() as session:
                done = await work(session)
                if commit:
                    await session.commit()
                return done
        finally:
            await engine.dispose()

    return asyncio.run(run())

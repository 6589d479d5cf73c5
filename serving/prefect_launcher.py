"""Start pipeline work on a Prefect server, through its HTTP API alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from serving.launcher import Command, Launch, LaunchRefusedError, Order, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.launcher import Launcher

#: Timeout in seconds of one request to the server.
ANSWER_SECONDS = 15.0

#: Flags that may repeat -> the fields of the flows' requests that hold them.
_LISTS = {"concept": "concepts", "approve": "approve"}
_STATUS = {
    "COMPLETED": Status.DONE,
    "FAILED": Status.FAILED,
    "CRASHED": Status.FAILED,
    "CANCELLED": Status.FAILED,
}


class PrefectLauncher:
    """Creates flow runs of the deployments that the settings name as `flow/deployment`."""

    def __init__(
        self,
        api_url: str,
        deployments: Mapping[Command, str],
        *,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._deployments = deployments
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(
            base_url=api_url.rstrip("/") + "/",
            headers=headers,
            timeout=ANSWER_SECONDS,
            transport=transport,
        )

    async def launch(self, order: Order) -> Launch:
        """Create a flow run, which the server schedules at once."""
        name = self._deployments[order.command]
        deployment = await self._call("GET", f"deployments/name/{name}")
        created = await self._call(
            "POST",
            f"deployments/{deployment['id']}/create_flow_run",
            json={"parameters": parameters(order), "tags": [_tag(order.command)]},
        )
        return _launch(created, order.command)

    async def follow(self, launch_id: str) -> Launch | None:
        """Return the flow run with that id, as the server reports it; None if it is unknown."""
        try:
            wanted = UUID(launch_id)
        except ValueError:
            return None
        found = await self._call("GET", f"flow_runs/{wanted}", absent_is_none=True)
        if not found:
            return None
        command = next((c for c in Command if _tag(c) in found.get("tags", [])), None)
        return None if command is None else _launch(found, command)

    async def close(self) -> None:
        """Close the connections; flow runs continue."""
        await self._client.aclose()

    async def _call(
        self, method: str, path: str, *, absent_is_none: bool = False, json: object = None
    ) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise LaunchRefusedError(
                f"The Prefect server must answer, but did not: {type(error).__name__}. "
                "Check PREFECT_API_URL."
            ) from error
        if answer.status_code == httpx.codes.NOT_FOUND and absent_is_none:
            return {}
        if answer.is_error:
            raise LaunchRefusedError(
                f"The Prefect server refused {method} {path} with {answer.status_code}; "
                "check the names of the deployments in [serving]."
            )
        body: dict[str, Any] = answer.json()
        return body


class LauncherByCommand:
    """Uses Prefect for commands with a deployment, and child processes for the others."""

    def __init__(
        self, prefect: Launcher | None, process: Launcher, deployed: frozenset[Command]
    ) -> None:
        self._prefect = prefect
        self._process = process
        self._deployed = deployed

    async def launch(self, order: Order) -> Launch:
        """Start the order with the launcher of its command."""
        if self._prefect is not None and order.command in self._deployed:
            return await self._prefect.launch(order)
        return await self._process.launch(order)

    async def follow(self, launch_id: str) -> Launch | None:
        """Ask the launcher that started it."""
        found = await self._process.follow(launch_id)
        if found is None and self._prefect is not None:
            return await self._prefect.follow(launch_id)
        return found

    async def close(self) -> None:
        """Close both launchers."""
        await self._process.close()
        if self._prefect is not None:
            await self._prefect.close()


def parameters(order: Order) -> dict[str, Any]:
    """Return the parameter `request` of a flow; values of repeatable flags become lists."""
    request: dict[str, Any] = dict(order.positional)
    for name, value in order.flags:
        if name in _LISTS and value is not True:
            request.setdefault(_LISTS[name], []).append(value)
        else:
            request[name] = value
    return {"request": request}


def _tag(command: Command) -> str:
    return f"bkt-service-{command}"


def _launch(flow_run: Mapping[str, Any], command: Command) -> Launch:
    state = flow_run.get("state") or {}
    began = flow_run.get("created")
    return Launch(
        launch_id=flow_run["id"],
        command=command,
        via="prefect",
        status=_STATUS.get(state.get("type", ""), Status.RUNNING),
        started_at=datetime.fromisoformat(began) if began else datetime.now(UTC),
        detail=state.get("message") or flow_run.get("name"),
    )

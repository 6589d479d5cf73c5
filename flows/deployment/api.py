"""Ask the Prefect server for scheduled runs over HTTP; importing Prefect takes seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from bkt_settings.redaction import without_secret

#: The tag of all our deployments.
TAG = "bkt"
#: Timeout in seconds of one request to the server.
ANSWER_SECONDS = 5.0
#: Number of scheduled runs that are read, earliest first.
READ_AHEAD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One deployment and its next run."""

    deployment: str
    next_at: datetime | None
    #: Whether it has an active schedule.
    scheduled: bool
    paused: bool
    #: Number of runs whose start time has passed and that no worker has taken.
    late: int

    @property
    def forgotten(self) -> bool:
        """Whether a schedule is active but no run is planned: the server's scheduler fails."""
        return self.scheduled and not self.paused and self.next_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefectServer:
    """The state of a server, or why it could not be read."""

    #: None if no server is configured.
    url: str | None
    version: str | None = None
    problem: str | None = None
    planned: tuple[Planned, ...] = field(default=())
    #: Number of workers with a recent heartbeat, over all pools of our deployments.
    workers_online: int = 0


def ask_server() -> PrefectServer:
    """Ask the server of PREFECT_API_URL for the next runs of our deployments."""
    url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not url:
        return PrefectServer(
            url=None,
            problem="No Prefect server is configured (PREFECT_API_URL is not set).",
        )
    shown = without_secret(url)
    try:
        with _client(url) as client:
            version = str(_asked(client, "GET", "admin/version"))
            deployments = _asked(
                client, "POST", "deployments/filter",
                json={"deployments": {"tags": {"all_": [TAG]}}},
            )  # fmt: skip
            runs = _scheduled(client, deployments)
            workers = [
                worker
                for pool in sorted({d["work_pool_name"] for d in deployments} - {None})
                for worker in _asked(
                    client, "POST", f"work_pools/{pool}/workers/filter", json={}
                )
            ]
            return PrefectServer(
                url=shown,
                version=version,
                planned=tuple(_planned(client, one, runs) for one in deployments),
                workers_online=sum(worker["status"] == "ONLINE" for worker in workers),
            )
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return PrefectServer(
            url=shown, problem=f"The Prefect server at {shown} {_problem_text(error)}."
        )


def _client(url: str) -> httpx.Client:
    """Create a client with the credentials that Prefect's own client would use."""
    key, login = (os.environ.get(f"PREFECT_API_{name}") for name in ("KEY", "AUTH_STRING"))
    user, _, password = (login or "").partition(":")
    return httpx.Client(
        base_url=f"{url}/",
        headers={"Authorization": f"Bearer {key}"} if key else {},
        auth=(user, password) if login else None,
        timeout=ANSWER_SECONDS,
    )


def _asked(client: httpx.Client, method: str, path: str, json: object = None) -> Any:  # noqa: ANN401 - JSON
    answer = client.request(method, path, json=json)
    answer.raise_for_status()
    return answer.json()


def _scheduled(client: httpx.Client, deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scheduled runs of these deployments, earliest first."""
    if not deployments:
        return []
    asked = {
        "deployments": {"tags": {"all_": [TAG]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": READ_AHEAD,
    }
    found: list[dict[str, Any]] = _asked(client, "POST", "flow_runs/filter", json=asked)
    return found


def _planned(
    client: httpx.Client, deployment: dict[str, Any], runs: list[dict[str, Any]]
) -> Planned:
    own = [run for run in runs if run["deployment_id"] == deployment["id"]]
    late = [run for run in own if run["state"]["name"] == "Late"]
    ahead = [run["expected_start_time"] for run in own if run not in late]
    flow = _asked(client, "GET", f"flows/{deployment['flow_id']}")
    return Planned(
        deployment=f"{flow['name']}/{deployment['name']}",
        next_at=datetime.fromisoformat(min(ahead)) if ahead else None,
        scheduled=any(schedule["active"] for schedule in deployment["schedules"]),
        paused=bool(deployment["paused"]),
        late=len(late),
    )


def _problem_text(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"refused with {error.response.status_code}"
    if isinstance(error, httpx.HTTPError):
        return f"does not answer ({type(error).__name__})"
    return "answers in a form that this program does not know"

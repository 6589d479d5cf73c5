"""Read the deployments of prefect.yaml, and compare them with those on the server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from bkt_core.errors import BktError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from prefect import Flow
    from prefect.client.schemas.responses import DeploymentResponse

FILE = "prefect.yaml"
#: The tag of all our deployments.
TAG = "bkt"
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One deployment of the file, with its variables replaced."""

    name: str
    flow_name: str
    #: The values that the server should have, by the names of its API.
    values: Mapping[str, Any]

    @property
    def full_name(self) -> str:
        """The name as Prefect's command line shows it."""
        return f"{self.flow_name}/{self.name}"


def read_wanted(root: Path) -> tuple[Wanted, ...]:
    """Read the deployments of prefect.yaml; variables come from the environment."""
    path = root / FILE
    if not path.is_file():
        raise BktError(f"Expected the deployments in {path}, which does not exist.")
    content = filled_in(yaml.safe_load(path.read_text(encoding="utf-8")), os.environ)
    return tuple(_wanted(entry, content.get("pull") or []) for entry in content["deployments"])


def filled_in(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Replace `{{ $NAME }}`, as Prefect does."""
    if isinstance(value, dict):
        return {key: filled_in(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled_in(inner, variables) for inner in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: variables.get(found[1], ""), value)
    return value


def differences(wanted: Wanted, found: DeploymentResponse) -> tuple[str, ...]:
    """Return the names of values on the server that differ from the file."""
    there = held(found)
    return tuple(name for name, value in wanted.values.items() if there[name] != value)


def held(found: DeploymentResponse) -> dict[str, Any]:
    """Return the values on the server, in the form of `Wanted.values`.

    A schedule without a slug was created by an operator and is not compared with the file.
    """
    options = found.concurrency_options
    limit = found.global_concurrency_limit
    return {
        "description": found.description,
        "tags": sorted(found.tags),
        "entrypoint": found.entrypoint,
        "parameters": found.parameters,
        "parameter schema": _plain(found.parameter_openapi_schema or {}),
        "enforcement of the schema": found.enforce_parameter_schema,
        "concurrency": {
            "limit": None if limit is None else limit.limit,
            "collision_strategy": None if options is None else options.collision_strategy.value,
            "grace_period_seconds": None if options is None else options.grace_period_seconds,
        },
        "work pool": {"name": found.work_pool_name, "queue": found.work_queue_name},
        "job variables": found.job_variables,
        "pull steps": found.pull_steps or [],
        "schedules": {one.slug: _schedule(one) for one in found.schedules if one.slug},
    }


def _wanted(entry: dict[str, Any], pull: list[Any]) -> Wanted:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    pool, limit = entry["work_pool"], entry["concurrency_limit"]
    return Wanted(
        name=entry["name"],
        flow_name=flow.name,
        values={
            "description": entry["description"],
            "tags": sorted(entry["tags"]),
            "entrypoint": entry["entrypoint"],
            "parameters": entry["parameters"],
            "parameter schema": _plain(parameter_schema(flow).model_dump(exclude_unset=True)),
            "enforcement of the schema": entry["enforce_parameter_schema"],
            "concurrency": {
                name: limit[name]
                for name in ("limit", "collision_strategy", "grace_period_seconds")
            },
            "work pool": {"name": pool["name"], "queue": pool["work_queue_name"]},
            "job variables": pool["job_variables"],
            "pull steps": pull,
            "schedules": {
                one["slug"]: {
                    "cron": one["cron"],
                    "timezone": one["timezone"],
                    "parameters": one["parameters"],
                }
                for one in entry["schedules"]
            },
        },
    )


def _schedule(found: Any) -> dict[str, Any]:  # noqa: ANN401 - one of several kinds of schedule
    """Return the fields of a schedule that the file sets; operators may pause a schedule."""
    return {
        "cron": getattr(found.schedule, "cron", None),
        "timezone": getattr(found.schedule, "timezone", None),
        "parameters": found.parameters,
    }


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the defaults that Prefect adds."""
    return {name: value for name, value in schema.items() if value not in (None, {}, [])}

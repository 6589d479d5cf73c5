"""The objects of one running service: settings, database, access, metrics, cache, launcher."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from datasets.store.runs.standing import read_standing
from serving.access import AccessControl
from serving.database import Database
from serving.launcher import Command, Launcher, ProcessLauncher
from serving.observation.metrics import Metrics
from serving.observation.nights import NightMetrics
from serving.params_cache import ParamsCache
from serving.prefect_launcher import LauncherByCommand, PrefectLauncher
from serving.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from bkt_settings.service import ServiceSettings
    from bkt_settings.serving import ServingSettings
    from datasets.store.runs.standing import Standing


def now_utc() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The objects that routes use, as `request.app.state.service`."""

    settings: ServingSettings
    database: Database
    access: AccessControl
    metrics: Metrics
    nights: NightMetrics
    cache: ParamsCache
    launcher: Launcher
    clock: Callable[[], datetime]

    @property
    def latest(self) -> datetime:
        """The latest time that an attempt may have."""
        return self.clock() + timedelta(minutes=self.settings.allowed_skew_minutes)

    async def close(self) -> None:
        """End child processes and close connections."""
        await self.launcher.close()
        await self.database.close()


def build_service(
    settings: ServiceSettings,
    *,
    launcher: Launcher | None = None,
    clock: Callable[[], datetime] = now_utc,
) -> Service:
    """Create a service from its settings; nothing is connected yet."""
    own = settings.serving
    metrics = Metrics()
    database = Database(
        settings.database, connections=own.database_connections, metrics=metrics
    )
    return Service(
        settings=own,
        database=database,
        access=AccessControl(Tokens(own), learners_submit=own.learners_submit),
        metrics=metrics,
        nights=NightMetrics(
            metrics.registry,
            partial(database.read, _standing),
            max_age=own.night_metrics_seconds,
        ),
        cache=ParamsCache(own.params_cache_seconds),
        launcher=launcher or _launcher(own),
        clock=clock,
    )


async def _standing(conn: AsyncConnection) -> Standing:
    return await conn.run_sync(read_standing)


def _launcher(settings: ServingSettings) -> Launcher:
    process = ProcessLauncher(max_children=settings.max_children)
    named = {
        Command.RETRAIN: settings.retrain_deployment,
        Command.RECOMPUTE: settings.recompute_deployment,
        Command.ROLLBACK: settings.rollback_deployment,
        Command.ACTIVATE: settings.activate_deployment,
    }
    deployments = {command: name for command, name in named.items() if name}
    api_url = os.environ.get("PREFECT_API_URL")
    if not api_url or not deployments:
        return process
    prefect = PrefectLauncher(
        api_url, deployments, api_key=os.environ.get("PREFECT_API_KEY") or None
    )
    return LauncherByCommand(prefect, process, frozenset(deployments))

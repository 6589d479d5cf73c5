"""Checks of `bkt doctor` beyond this machine: database, MLflow, Prefect server."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from bkt_core.errors import BktError
from bkt_settings.redaction import without_secret
from bkt_settings.telemetry import signals_wanted, why_not
from datasets.store.connections.engines import make_engine, redacted, require_reachable
from datasets.store.errors import NotMigratedError
from datasets.store.schema.revision import head_revision
from datasets.store.schema.server_facts import server_facts
from flows.deployment.api import ask_server
from flows.health.findings import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bkt_settings.pipeline import Settings
    from flows.deployment.api import PrefectServer
    from flows.health.findings import Examination, Finding

#: Timeout in seconds of one request to a server.
ANSWER_SECONDS = 5.0


def examine_database(settings: Settings) -> Iterator[Finding]:
    """Check that the database is reachable, migrated, durable, and has the same time."""
    where, engine = redacted(settings.database), make_engine(settings.database)
    try:
        facts = server_facts(engine, _now)
    except NotMigratedError as error:
        came = f"revision {error.found}" if error.found else "no schema"
        yield fail(
            "database", f"{where} has {came}, {error.expected} is needed", "Run `bkt init`."
        )
        return
    except BktError as error:
        yield fail(
            "database", str(error).partition(". ")[0],
            "Check BKT_DATABASE_URL, its password, and that the server runs.",
        )  # fmt: skip
        return
    finally:
        engine.dispose()
    yield ok("database", f"{where}, {facts.product}, revision {head_revision()}")
    if facts.unsafe:
        yield fail(
            "durability", f"{', '.join(facts.unsafe)}: a crash loses acknowledged attempts",
            "Switch it on in the server's configuration.",
        )  # fmt: skip
    if facts.ahead is None:
        yield ok("clock", "the database has this machine's clock")
        return
    skew, limit = facts.ahead.total_seconds(), settings.doctor.max_clock_skew_seconds
    exact = facts.known_to.total_seconds()
    difference = f"the database's is {skew:+.3f} s ahead of ours (to {exact:.3f} s)"
    if abs(skew) <= limit:
        yield ok("clock", difference)
    else:
        yield fail(
            "clock", f"{difference}; {limit:g} s are allowed",
            "Synchronise both clocks by NTP: one dates attempts and the other judges them.",
        )  # fmt: skip


def examine_mlflow(settings: Settings) -> Iterator[Finding]:
    """Check that evidence can be delivered to MLflow."""
    uri = settings.tracking_uri
    if uri.startswith(("http://", "https://")):
        yield _mlflow_server(settings)
        return
    shown = without_secret(uri)
    if not uri.startswith("sqlite:"):
        engine = make_engine(uri)
        try:
            require_reachable(engine)
        except BktError as error:
            yield fail("mlflow", str(error), "Check BKT_MLFLOW_TRACKING_URI.")
            return
        finally:
            engine.dispose()
        yield ok("mlflow", f"{shown} answers")
        return
    yield warn(
        "mlflow", f"a file of this machine, {shown}",
        "Enough for one person; in production name a server by BKT_MLFLOW_TRACKING_URI.",
    )  # fmt: skip


def examine_prefect(settings: Settings) -> Iterator[Finding]:
    """Check that scheduled runs start."""
    del settings
    server = ask_server()
    if server.url is None:
        yield warn(
            "prefect", "no server is configured (PREFECT_API_URL): nothing runs by itself",
            "Enough for runs by hand; in production start a server and run `bkt deploy`.",
        )  # fmt: skip
        return
    if server.problem is not None:
        yield fail(
            "prefect", server.problem,
            "Check PREFECT_API_URL and its key, and that the server runs.",
        )  # fmt: skip
        return
    own = version("prefect")
    if server.version == own:
        yield ok("prefect", f"{server.url}, version {own}")
    else:
        yield warn(
            "prefect", f"{server.url} has version {server.version}, this machine {own}",
            "Use the same version on both before the next night.",
        )  # fmt: skip
    yield from _deployments(server)


def _deployments(server: PrefectServer) -> Iterator[Finding]:
    if not server.planned:
        yield warn("schedule", "the server has none of our deployments", "Run `bkt deploy`.")
        return
    forgotten = [one.deployment for one in server.planned if one.forgotten]
    coming = [one.next_at for one in server.planned if one.next_at is not None]
    if forgotten:
        yield fail(
            "schedule", f"{', '.join(forgotten)}: a schedule, and no run is planned",
            "Give it a minute after `bkt deploy`; else its scheduler fails: read its log.",
        )  # fmt: skip
    elif not coming:
        yield warn("schedule", "no schedule is active", "Activate one in Prefect, or leave it.")
    else:
        yield ok("schedule", f"next run at {min(coming):%Y-%m-%d %H:%M} UTC")
    late = sum(one.late for one in server.planned)
    if not server.workers_online:
        yield fail(
            "worker", f"no worker is online, {late} runs are late",
            "Run `prefect worker start --pool bkt`, as a service of the system.",
        )  # fmt: skip
    else:
        yield ok("worker", f"{server.workers_online} online, {late} runs late")


def _mlflow_server(settings: Settings) -> Finding:
    """Check that the server answers, has our version, and admits us to the experiment."""
    uri, own = settings.tracking_uri.rstrip("/"), version("mlflow")
    shown = without_secret(uri)
    parts = urlsplit(uri)
    user = parts.username or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = parts.password or os.environ.get("MLFLOW_TRACKING_PASSWORD") or ""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    try:
        with httpx.Client(
            base_url=f"{shown}/",
            auth=None if user is None else (unquote(user), unquote(password)),
            headers={"Authorization": f"Bearer {token}"} if token and user is None else {},
            timeout=ANSWER_SECONDS,
        ) as client:
            theirs = client.get("version")
            asked = client.get(
                "api/2.0/mlflow/experiments/get-by-name",
                params={"experiment_name": settings.mlflow_experiment},
            )
    except httpx.HTTPError as error:
        return fail(
            "mlflow", f"{shown} does not answer ({type(error).__name__})",
            "Check BKT_MLFLOW_TRACKING_URI and that the server runs; evidence of runs until "
            "then waits for `bkt report --relog RUN`.",
        )  # fmt: skip
    if asked.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
        return fail(
            "mlflow", f"{shown} refused with {asked.status_code}",
            "Check the user and password, or the token, that it was given.",
        )  # fmt: skip
    if theirs.is_success and theirs.text.strip() != own:
        return warn(
            "mlflow", f"{shown} has version {theirs.text.strip()[:20]}, this machine {own}",
            "Use the same version on both.",
        )  # fmt: skip
    return ok("mlflow", f"{shown}, version {own}")


def examine_telemetry(_settings: Settings) -> Iterator[Finding]:
    """Check that a collector which the environment names can be used."""
    wanted, problem = signals_wanted(), why_not()
    if problem is not None:
        yield warn("telemetry", problem, "Nothing is delivered until then; runs go on.")
    elif wanted:
        yield ok("telemetry", f"{' and '.join(sorted(wanted))} go to the collector")


def _now() -> datetime:
    return datetime.now(UTC)


SERVICES: dict[str, Examination] = {
    "database": examine_database,
    "mlflow": examine_mlflow,
    "prefect": examine_prefect,
    "telemetry": examine_telemetry,
}

"""The MLflow store: check that it is reachable, create local folders, configure the client."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bkt_core.errors import BktError
from bkt_settings.redaction import without_secret

#: Seconds in which a server must accept a connection.
PROBE_SECONDS = 5.0
_LOCAL = "sqlite:///"
#: Timeouts of MLflow's client; its defaults wait for minutes if a server is down.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


class TrackingUnavailableError(BktError):
    """MLflow did not accept the evidence; the run is done and its files have everything."""

    exit_code = 6

    def __init__(self, *, tracking_uri: str, reason: str) -> None:
        super().__init__(
            f"The evidence was not delivered to MLflow at {without_secret(tracking_uri)}: "
            f"{reason} It is kept in the run's files; `bkt report --relog RUN` delivers it."
        )
        self.reason = reason


def require_reachable(tracking_uri: str) -> None:
    """Raise `TrackingUnavailableError` within seconds if the server accepts no connection."""
    if not tracking_uri.startswith(("http://", "https://")):
        return
    parts = urlsplit(tracking_uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=PROBE_SECONDS):
            pass
    except OSError as error:
        raise TrackingUnavailableError(
            tracking_uri=tracking_uri, reason=f"it accepts no connection ({error})."
        ) from error


def is_unused(tracking_uri: str) -> bool:
    """Return whether this is a local store whose file does not exist yet."""
    file = tracking_uri.removeprefix(_LOCAL)
    return file != tracking_uri and not Path(file).exists()


def local_alias(tracking_uri: str, model: str, alias: str) -> int | None:
    """Return the version of an alias in a local store, without importing MLflow.

    The result is None if the store is a server, has no such alias, or has another schema than
    MLflow 3; then MLflow itself must be asked.
    """
    asked = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
    rows = _local_rows(tracking_uri, asked, model, alias)
    return int(rows[0][0]) if rows else None


def local_model_is_unknown(tracking_uri: str, model: str) -> bool:
    """Return whether a local store certainly has no version of a model (see `local_alias`)."""
    asked = "SELECT 1 FROM model_versions WHERE name = ? LIMIT 1"
    return _local_rows(tracking_uri, asked, model) == []


def _local_rows(tracking_uri: str, query: str, *values: str) -> list[tuple[Any, ...]] | None:
    """Read rows of a local store; None if it is a server or cannot be read."""
    file = tracking_uri.removeprefix(_LOCAL)
    if file == tracking_uri or not Path(file).exists():
        return None
    uri = f"{Path(file).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            return db.execute(query, values).fetchall()
    except sqlite3.Error:
        return None


def create_store_folder(tracking_uri: str) -> None:
    """Create the folder of a local store."""
    if tracking_uri.startswith(_LOCAL):
        Path(tracking_uri.removeprefix(_LOCAL)).parent.mkdir(parents=True, exist_ok=True)


def configure_mlflow() -> None:
    """Set MLflow's retries, timeouts and logging; call it before MLflow is imported."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)

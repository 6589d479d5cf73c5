"""Prefect's home and settings without a configured server: in the data folder, offline."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from datasets.errors import StorageError
from datasets.whole_files import make_folder
from flows.deployment.own_server import start_own_server

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings

#: With less free disk space a Prefect server tries to start for two minutes.
LEAST_ROOM_MIB = 32

#: Settings that keep Prefect and MLflow from connecting to other machines.
_OFFLINE = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Prefect would pickle results, and the exceptions of failed runs, into its storage.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def stay_offline() -> None:
    """Keep Prefect and MLflow from sending telemetry; call it before importing either."""
    for name, value in _OFFLINE.items():
        os.environ.setdefault(name, value)


def settle_prefect(settings: Settings, *, debug: bool = False) -> None:
    """Set the environment for a run from the command line; call it before importing Prefect.

    A configured server (`PREFECT_API_URL`) is used. Without one, if the settings allow it, a
    run has its own server below `<data_dir>/prefect`; neither a user's profile nor the folder's
    prefect.toml changes that. The server is started here; `own_server` waits for it.
    """
    stay_offline()
    # Errors are shown to people as a sentence; Prefect would print its traceback first. The
    # page of the run keeps the log.
    level = "INFO" if debug else "CRITICAL"
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", level)
    if "PREFECT_API_URL" in os.environ:
        return
    if not settings.prefect.own_server:
        raise UsageError(
            "PREFECT_API_URL must name the Prefect server, such as http://127.0.0.1:4200/api, "
            "but it is not set; the settings of this environment allow no temporary server."
        )
    if "PREFECT_HOME" in os.environ:
        home = Path(os.environ["PREFECT_HOME"])
        make_folder(home)
    else:
        home = settings.data_dir.resolve() / "prefect"
        make_folder(home)
        _require_room(home)
        os.environ["PREFECT_HOME"] = str(home)
        os.environ.setdefault("PREFECT_PROFILES_PATH", str(home / "profiles.toml"))
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", level)
    start_own_server(home)


def _require_room(home: Path) -> None:
    """Raise an error at once if the disk is almost full."""
    free = shutil.disk_usage(home).free / 2**20
    if free < LEAST_ROOM_MIB:
        raise StorageError(
            f"The disk of {home} has {free:.1f} MiB left, a run needs at least "
            f"{LEAST_ROOM_MIB} to begin. Make room (`bkt prune`), then run the command again."
        )

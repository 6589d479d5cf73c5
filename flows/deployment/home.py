"""Prefect's home and settings if no server is configured: below the data folder, offline."""

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

#: A Prefect server that finds less on its disk tries to start for two minutes.
LEAST_ROOM_MIB = 32

#: Nothing leaves the machine.
_OFFLINE = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Prefect would pickle results, and the exceptions of failed runs, into its storage.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def stay_offline() -> None:
    """Set what keeps Prefect and MLflow from calling home; before either is imported."""
    for name, value in _OFFLINE.items():
        os.environ.setdefault(name, value)


def settle_prefect(settings: Settings, *, debug: bool = False) -> None:
    """Set the environment for a run from the command line; call it before importing Prefect.

    A configured server (`PREFECT_API_URL`) is respected. Without one, where the settings allow
    it, a run has its own below `<data_dir>/prefect`, so that neither a user's profile nor the
    folder's prefect.toml redirects it. It is started here; `own_server` waits for it.
    """
    stay_offline()
    # A refusal reaches the person as a sentence; Prefect would print its traceback first. The
    # run's page keeps the log.
    level = "INFO" if debug else "CRITICAL"
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", level)
    if "PREFECT_API_URL" in os.environ:
        return
    if not settings.prefect.own_server:
        raise UsageError(
            "PREFECT_API_URL must name the Prefect server, such as http://127.0.0.1:4200/api, "
            "and is not set; the settings of this environment allow no server of a run's own."
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
    """Refuse a disk that is all but full, at once."""
    free = shutil.disk_usage(home).free / 2**20
    if free < LEAST_ROOM_MIB:
        raise StorageError(
            f"The disk of {home} has {free:.1f} MiB left, a run needs at least "
            f"{LEAST_ROOM_MIB} to begin. Make room (`bkt prune`), then run the command again."
        )

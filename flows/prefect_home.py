"""Where Prefect lives when no server is configured: below the data folder, silent, offline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Nothing leaves the machine.
_OFFLINE = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def stay_offline() -> None:
    """Set what keeps Prefect and MLflow from calling home; before either is imported."""
    for name, value in _OFFLINE.items():
        os.environ.setdefault(name, value)


def settle_prefect(data_dir: Path, *, debug: bool = False) -> None:
    """Set the environment for a run from the command line; call it before importing Prefect.

    A configured server (`PREFECT_API_URL`) or home (`PREFECT_HOME`) is respected. Without one,
    home is `<data_dir>/prefect`, so that a user's own profile cannot redirect a run.
    """
    stay_offline()
    if "PREFECT_API_URL" in os.environ or "PREFECT_HOME" in os.environ:
        return
    home = data_dir.resolve() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    os.environ.setdefault("PREFECT_PROFILES_PATH", str(home / "profiles.toml"))
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # A refusal reaches the person as a sentence; Prefect would print its traceback first.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if debug else "CRITICAL")

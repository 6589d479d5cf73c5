"""The settings of the online service: the database's address and its own section."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from bkt_settings.reading import FileSettings, read_settings, refuse_unknown_variables
from bkt_settings.serving import ServingSettings


class ServiceSettings(FileSettings):
    """The part of conf/*.toml that the service uses; it ignores the other sections."""

    model_config = SettingsConfigDict(extra="ignore")

    serving: ServingSettings


def load_service_settings() -> ServiceSettings:
    """Read the settings; raises `UsageError`, which names the first wrong setting."""
    refuse_unknown_variables(ServiceSettings, below="BKT_SERVING")
    return read_settings(ServiceSettings)

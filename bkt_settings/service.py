"""What the service reads of the settings: the database's address and its own section."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from bkt_settings.reading import FileSettings, read_settings, refuse_unknown_variables
from bkt_settings.serving import ServingSettings


class ServiceSettings(FileSettings):
    """The service's share of conf/*.toml; the other sections are read by whom they concern."""

    model_config = SettingsConfigDict(extra="ignore")

    serving: ServingSettings


def load_service_settings() -> ServiceSettings:
    """Read the settings, or say in one sentence what is wrong with them."""
    refuse_unknown_variables(ServiceSettings, below="BKT_SERVING")
    return read_settings(ServiceSettings)

"""Settings of the pipeline, read once from conf/*.toml, `BKT_…` variables and flags."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from typing import Any

from pydantic import Field, SecretStr, model_validator

from bkt_core.evaluation.limits import GateLimits
from bkt_core.fitting.options import FitOptions, Method
from bkt_core.params import Bounds
from bkt_settings.reading import FileSettings, Section, read_settings, refuse_unknown_variables
from bkt_settings.serving import ServingSettings


class LogFormat(StrEnum):
    """The format of log lines."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    OFF = "off"


class LogTarget(StrEnum):
    """The destination of log lines."""

    STDERR = "stderr"
    RUN = "run"


class LogSettings(Section):
    """What a run logs while it works."""

    format: LogFormat
    level: LogLevel
    to: LogTarget


class ImportSettings(Section):
    """How attempt files are imported."""

    allowed_skew_minutes: float = Field(ge=0)
    partial_credit_from: float = Field(ge=0, le=1)
    known_users: str
    known_concepts: str


class ExtractSettings(Section):
    """How the attempt log is extracted to Parquet."""

    max_quarantine_share: float = Field(ge=0, le=1)
    flood_attempts_per_hour: int = Field(ge=0)


class EngineName(StrEnum):
    """The engines that can fit parameters."""

    EM = "em"
    PYBKT = "pybkt"


class FitSettings(Section):
    """How one concept is fitted and cross-validated."""

    engine: EngineName
    folds: int = Field(ge=2, le=100)
    starts: int = Field(ge=1)
    seed: int = Field(ge=0)
    tolerance: float = Field(gt=0)
    max_steps: int = Field(ge=1)
    max_seconds: float = Field(gt=0)
    min_new_share: float = Field(ge=0, le=1)
    wide_L0_max: float = Field(ge=0, lt=1)
    shrink: bool
    candidates: tuple[str, ...]

    def wider(self, bounds: Bounds) -> Bounds | None:
        """Return the bounds in which a fit on a bound is repeated; None means no repetition."""
        if self.wide_L0_max <= bounds.L0_max:
            return None
        return replace(bounds, L0_max=self.wide_L0_max)

    def options(self, bounds: Bounds) -> FitOptions:
        """Return the options that are passed to the engine."""
        return FitOptions(
            bounds=bounds,
            n_starts=self.starts,
            seed=self.seed,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            max_seconds=self.max_seconds,
            method=Method.ACCELERATED,
        )


class Runner(StrEnum):
    """Where shards are fitted."""

    THREADS = "threads"
    PROCESSES = "processes"
    DASK = "dask"


class RunSettings(Section):
    """How a run uses its machine, and when it fails."""

    runner: Runner
    dask_address: str
    threads: int = Field(ge=0)
    max_failed_share: float = Field(ge=0, le=1)

    @property
    def n_threads(self) -> int:
        """The number of shards fitted at once, in threads or in processes."""
        return self.threads or os.cpu_count() or 1

    @model_validator(mode="after")
    def _dask_has_an_address(self) -> RunSettings:
        if (self.runner is Runner.DASK) != bool(self.dask_address):
            raise ValueError(
                'runner = "dask" and dask_address, such as "tcp://127.0.0.1:8786", go together'
            )
        return self


class RecomputeSettings(Section):
    """How states are recomputed."""

    states_per_chunk: int = Field(gt=0)


class MonitorSettings(Section):
    """When a concept counts as drifted."""

    false_discovery_rate: float = Field(gt=0, lt=1)


class DoctorSettings(Section):
    """The limits that `bkt doctor` checks."""

    min_free_gib: float = Field(ge=0)
    max_clock_skew_seconds: float = Field(gt=0)


class PrefectSettings(Section):
    """How runs use the Prefect server."""

    own_server: bool
    notification_block: str = Field(pattern=r"^([^/ ]+/[^/]+)?$")


class RetentionSettings(Section):
    """How long `bkt prune` keeps files and snapshots."""

    extracts_nights: int = Field(ge=1)
    runs_days: int = Field(ge=1)
    snapshots_full_days: int = Field(ge=1)


class Settings(FileSettings):
    """All settings of the pipeline, immutable."""

    extraction_url: SecretStr
    mlflow_tracking_uri: SecretStr
    mlflow_experiment: str
    source_url: SecretStr
    log: LogSettings
    imports: ImportSettings = Field(alias="import")
    extract: ExtractSettings
    fit: FitSettings
    run: RunSettings
    recompute: RecomputeSettings
    monitor: MonitorSettings
    doctor: DoctorSettings
    prefect: PrefectSettings
    retention: RetentionSettings
    serving: ServingSettings
    gates: GateLimits

    def evidence(self) -> dict[str, Any]:
        """Return the sections that determine what a run does; none of them holds a secret."""
        return self.model_dump(
            mode="json", include={"imports", "extract", "fit", "run", "recompute", "gates"}
        )

    @property
    def extraction_database(self) -> str:
        """The database URL for extractions, in clear text."""
        return self.extraction_url.get_secret_value() or self.database

    @property
    def tracking_uri(self) -> str:
        """The address of MLflow in clear text; show it only through `without_secret`."""
        named = self.mlflow_tracking_uri.get_secret_value()
        return named or f"sqlite:///{self.data_dir.resolve() / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str | None:
        """The folder of artifacts of a local MLflow store; None if a server chooses it."""
        if self.tracking_uri.startswith(("http://", "https://", "databricks")):
            return None
        return (self.data_dir.resolve() / "mlflow-artifacts").as_uri()


def load_settings(**flags: Any) -> Settings:  # noqa: ANN401 - values are checked by the model
    """Read the settings; raises `UsageError`, which names the first wrong setting."""
    refuse_unknown_variables(Settings)
    return read_settings(Settings, **flags)

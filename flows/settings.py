"""conf/*.toml, `BKT_…` variables and flags, read once at the door into one frozen value."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from bkt_core.evaluation.gates import GateLimits
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from bkt_core.errors import UsageError
from bkt_core.fitting.engine import FitOptions, Method
from bkt_core.params import Bounds

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"

#: Variables with our prefix that are not settings.
OTHER_VARIABLES = frozenset(
    {
        "BKT_ENV",
        "BKT_HOME",
        "BKT_BENCHMARK_DATA",
        "BKT_TEST_DATABASE_URL",
        "BKT_REQUIRE_POSTGRES",
    }
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImportSettings(_Section):
    """How attempt files come in."""

    allowed_skew_minutes: float = Field(ge=0)
    rows_per_batch: int = Field(gt=0)


class ExtractSettings(_Section):
    """How the attempt log goes to Parquet."""

    max_quarantine_share: float = Field(ge=0, le=1)
    attempts_per_shard: int = Field(gt=0)
    max_shards: int = Field(gt=0, le=200)
    flood_attempts_per_hour: int = Field(ge=0)


class FitSettings(_Section):
    """How one concept is fitted and cross-validated."""

    engine: str
    folds: int = Field(ge=2, le=100)
    starts: int = Field(ge=1)
    seed: int = Field(ge=0)
    tolerance: float = Field(gt=0)
    max_steps: int = Field(ge=1)
    max_seconds: float = Field(gt=0)
    min_new_share: float = Field(ge=0, le=1)

    def options(self, bounds: Bounds) -> FitOptions:
        """What the engine is asked for."""
        return FitOptions(
            bounds=bounds,
            n_starts=self.starts,
            seed=self.seed,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            max_seconds=self.max_seconds,
            method=Method.ACCELERATED,
        )


class RunSettings(_Section):
    """How a run uses its machine, and when it gives up."""

    threads: int = Field(ge=0)
    max_failed_share: float = Field(ge=0, le=1)

    @property
    def n_threads(self) -> int:
        """Shards worked on at once."""
        return self.threads or os.cpu_count() or 1


class RecomputeSettings(_Section):
    """How states are rewritten."""

    states_per_chunk: int = Field(gt=0)


class RetentionSettings(_Section):
    """What `bkt prune` keeps."""

    extracts_nights: int = Field(ge=1)
    runs_days: int = Field(ge=1)
    snapshots_full_days: int = Field(ge=1)


class Settings(BaseSettings):
    """Every setting of every stage, frozen."""

    model_config = SettingsConfigDict(
        env_prefix="BKT_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    database_url: SecretStr
    data_dir: Path
    mlflow_tracking_uri: str
    mlflow_experiment: str
    imports: ImportSettings = Field(alias="import")
    extract: ExtractSettings
    fit: FitSettings
    run: RunSettings
    recompute: RecomputeSettings
    retention: RetentionSettings
    gates: GateLimits

    @property
    def database(self) -> str:
        """The database URL in clear: hand it to an engine, never to a log."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'bkt.db'}"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow records go."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.data_dir.resolve() / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str | None:
        """Where artifacts of a local MLflow store lie; a server decides for itself."""
        if self.tracking_uri.startswith(("http://", "https://", "databricks")):
            return None
        return (self.data_dir.resolve() / "mlflow-artifacts").as_uri()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class calls by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the files of `conf`."""
        files = TomlConfigSettingsSource(settings_cls, _conf_files(), deep_merge=True)
        return init_settings, env_settings, files


def load_settings(**flags: Any) -> Settings:  # noqa: ANN401 - values are checked by the model
    """Read the settings, or say in one sentence what is wrong with them."""
    _refuse_unknown_variables()
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise UsageError(_sentence(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"A file in {CONF_DIR} is not valid TOML: {error}.") from error


def _conf_files() -> list[Path]:
    files = [CONF_DIR / "default.toml"]
    environment = os.environ.get("BKT_ENV")
    if environment:
        chosen = CONF_DIR / f"{environment}.toml"
        if not chosen.is_file():
            known = sorted(path.stem for path in CONF_DIR.glob("*.toml"))
            raise UsageError(
                f"BKT_ENV names conf/{environment}.toml, which does not exist; "
                f"there are {', '.join(known)}."
            )
        files.append(chosen)
    return files


def _known_variables() -> set[str]:
    known = set(OTHER_VARIABLES)
    for name, info in Settings.model_fields.items():
        top = f"BKT_{(info.alias or name).upper()}"
        inner = getattr(info.annotation, "model_fields", None) or getattr(
            info.annotation, "__dataclass_fields__", {}
        )
        known |= {f"{top}__{key.upper()}" for key in inner} or {top}
    return known


def _refuse_unknown_variables() -> None:
    known = _known_variables()
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith("BKT_") and name.upper() not in known
    )
    if unknown:
        raise UsageError(
            f"{unknown[0]} is no setting of this project; "
            f"check its spelling against {CONF_DIR.name}/default.toml, or unset it."
        )


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"The setting {where!r} is not known; compare with conf/default.toml."
    if first["type"] == "missing":
        return f"The setting {where!r} is missing; conf/default.toml should hold it."
    came = "" if where == "database_url" else f", got {first['input']!r}"
    return f"The setting {where!r} is wrong: {first['msg'].lower()}{came}."

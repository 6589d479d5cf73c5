"""Read settings: from conf/*.toml, then `BKT_…` variables, then values of the caller."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from bkt_core.errors import UsageError
from bkt_settings.home import HOME

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

CONF_DIR = HOME / "conf"

#: Variables with our prefix that are not settings.
OTHER_VARIABLES = frozenset(
    {
        "BKT_ENV",
        "BKT_HOME",
        "BKT_CONF_DIR",
        "BKT_BENCHMARK_DATA",
        "BKT_TEST_DATABASE_URL",
        "BKT_REQUIRE_POSTGRES",
    }
)


#: Settings whose values are never repeated in messages.
_SECRET_SETTINGS = frozenset(
    {"database_url", "extraction_url", "mlflow_tracking_uri", "source_url"}
)


class Section(BaseModel):
    """One `[section]` of a file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileSettings(BaseSettings):
    """Settings from files and environment, with the two that every reader needs."""

    model_config = SettingsConfigDict(
        env_prefix="BKT_",
        env_prefix_target="all",  # also for a section with an alias, such as BKT_IMPORT__…
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    database_url: SecretStr
    data_dir: Path

    @property
    def database(self) -> str:
        """The database URL in clear text: pass it to an engine, never to a log."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'bkt.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class calls by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, then the environment, then the files of `conf`."""
        files = TomlConfigSettingsSource(settings_cls, _conf_files(), deep_merge=True)
        return init_settings, env_settings, files


SettingsT = TypeVar("SettingsT", bound=FileSettings)


def read_settings(kind: type[SettingsT], **given: Any) -> SettingsT:  # noqa: ANN401 - values are checked by the model
    """Read settings of one kind; raises `UsageError`, which names the first wrong setting."""
    try:
        return kind(**given)
    except ValidationError as error:
        raise UsageError(_sentence(error)) from error
    except SettingsError as error:
        raise UsageError(
            f"A BKT_ variable cannot be read ({error}); lists are written as JSON, "
            """such as '["first", "second"]'."""
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"A file in {CONF_DIR} is not valid TOML: {error}.") from error


def refuse_unknown_variables(kind: type[FileSettings], *, below: str = "BKT_") -> None:
    """Raise `UsageError` for a variable with the prefix `below` that is not a setting."""
    known = OTHER_VARIABLES.union(
        *(_variables(name, info) for name, info in kind.model_fields.items())
    )
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(below) and name.upper() not in known
    )
    if unknown:
        raise UsageError(
            f"{unknown[0]} is not a setting of this project; "
            f"check its spelling against {CONF_DIR.name}/default.toml, or unset it."
        )


def _conf_files() -> list[Path]:
    files = [CONF_DIR / "default.toml"]
    environment = os.environ.get("BKT_ENV")
    if environment:
        files.append(_environment_file(environment))
    return files


def _environment_file(environment: str) -> Path:
    """Return `<environment>.toml` in the folder of BKT_CONF_DIR or in our own."""
    folders = [Path(os.environ.get("BKT_CONF_DIR") or CONF_DIR), CONF_DIR]
    for folder in folders:
        if (folder / f"{environment}.toml").is_file():
            return folder / f"{environment}.toml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise UsageError(
        f"BKT_ENV names conf/{environment}.toml, which does not exist in {folders[0]}; "
        f"there are {', '.join(known)}."
    )


def _variables(name: str, info: FieldInfo) -> set[str]:
    top = f"BKT_{(info.alias or name).upper()}"
    inner = getattr(info.annotation, "model_fields", None) or getattr(
        info.annotation, "__dataclass_fields__", {}
    )
    return {f"{top}__{key.upper()}" for key in inner} or {top}


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"The setting {where!r} is not known; compare with conf/default.toml."
    if first["type"] == "missing":
        return f"The setting {where!r} is missing; conf/default.toml should hold it."
    if first["type"] == "value_error":
        return f"The settings of {where!r} are wrong: {first['ctx']['error']}."
    secret = where in _SECRET_SETTINGS or "token_keys" in where
    came = "" if secret else f", got {first['input']!r}"
    return f"The setting {where!r} is wrong: {first['msg'].lower()}{came}."

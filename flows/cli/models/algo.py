"""`bkt algo`: list and show algorithm versions, add candidates, retire them."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from bkt_core.errors import BadInputError
from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.params.versions import (
    ACTIVE,
    RETIRED,
    add_version,
    differences,
    flat_settings,
    list_versions,
    retire_version,
    version_named,
)
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database

if TYPE_CHECKING:
    from rich.console import Console

    from datasets.store.params.versions import Version


def list_(
    *,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """List the algorithm versions: status, creation, fitted concepts, differences.

    Parameters
    ----------
    everything
        Also list retired versions.
    """
    with open_database(load_settings()) as engine, reading(engine) as conn:
        versions = list_versions(conn)
    shown = [one for one in versions if everything or one.status != RETIRED]
    rows = [_described(one, versions) for one in shown]
    hidden = len(versions) - len(shown)
    output.give(
        {"versions": rows, "retired_not_shown": hidden},
        lambda console: _show_versions(console, rows, hidden),
    )
    return 0


def show(version: str, /, *, output: Output = DEFAULT_OUTPUT) -> int:
    """Show one version: its settings, and what differs from the version in force.

    Parameters
    ----------
    version
        Its name, as in `bkt algo list`.
    """
    with open_database(load_settings()) as engine, reading(engine) as conn:
        versions = list_versions(conn)
    chosen = version_named(versions, version)
    payload = _described(chosen, versions) | {"settings": chosen.settings}
    output.give(payload, lambda console: _show_version(console, payload))
    return 0


def add(version: str, file: Path, /, *, output: Output = DEFAULT_OUTPUT) -> int:
    """Add a version as a CANDIDATE, from a file of settings; it never changes afterwards.

    Parameters
    ----------
    version
        Its name: letters, digits, dots, dashes, underscores.
    file
        TOML or JSON (.toml, .json) with the keys that `bkt algo show v1` shows.
    """
    settings = _settings_of(file)
    with open_database(load_settings()) as engine, engine.begin() as conn:
        added = add_version(conn, version, settings, at=datetime.now(UTC))
    said = (
        f"Version {version} is a candidate now; `bkt fit --algo {version}` tries it."
        if added
        else f"Version {version} already exists with these settings; nothing was changed."
    )
    payload = {"version": version, "added": added}
    output.give(payload, lambda console: console.print(said))
    return 0


def retire(version: str, /, *, output: Output = DEFAULT_OUTPUT) -> int:
    """Retire a candidate, so that lists omit it; its rows stay.

    Parameters
    ----------
    version
        Its name; the version in force cannot be retired.
    """
    with open_database(load_settings()) as engine, engine.begin() as conn:
        retired = retire_version(conn, version)
    said = (
        f"Version {version} is retired; its rows stay."
        if retired
        else f"Version {version} was already retired; nothing was changed."
    )
    output.give({"version": version, "retired": retired}, lambda console: console.print(said))
    return 0


def _settings_of(file: Path) -> dict[str, Any]:
    """Read the settings in a file; raises `BadInputError` if it is not an object."""
    if not file.is_file():
        raise BadInputError(
            f"Expected a .toml or .json file of settings, found no file {file}."
        )
    text = file.read_text(encoding="utf-8")
    try:
        found = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise BadInputError(
            f"{file} must be a .toml or .json file of settings, but cannot be read: {error}."
        ) from error
    if not isinstance(found, dict):
        raise BadInputError(f"{file} must hold an object of settings, got {found!r}.")
    return found


def _described(one: Version, versions: tuple[Version, ...]) -> dict[str, Any]:
    active = next((v.settings for v in versions if v.status == ACTIVE), {})
    return {
        "version": one.version,
        "status": one.status,
        "created_at": one.created_at.isoformat(),
        "in_force_since": one.in_force_since and one.in_force_since.isoformat(),
        "concepts_fitted": one.concepts_fitted,
        "rows": one.rows,
        "differs": {
            key: {"here": here, "in_force": there}
            for key, (here, there) in differences(one.settings, active).items()
        },
        "unknown_settings": one.unknown,
    }


def _show_versions(console: Console, rows: list[dict[str, Any]], hidden: int) -> None:
    table = Table("version", "status", "added", "in force", box=None, header_style="bold")
    table.add_column("concepts", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("differs from the version in force")
    for row in rows:
        table.add_row(
            row["version"],
            row["status"],
            row["created_at"][:10],
            f"since {row['in_force_since'][:10]}" if row["in_force_since"] else "",
            f"{row['concepts_fitted']:,}",
            f"{row['rows']:,}",
            ", ".join(_told(key, both) for key, both in row["differs"].items()),
        )
    console.print(table)
    if hidden:
        console.print(f"{hidden} retired, not shown; --all shows them.")
    _warn(console, rows)


def _show_version(console: Console, payload: dict[str, Any]) -> None:
    console.print(
        f"{payload['version']}: {payload['status']}, {_since(payload)}"
        f"added on {payload['created_at'][:10]}, {payload['concepts_fitted']:,} concepts with "
        f"fitted parameters in {payload['rows']:,} rows."
    )
    table = Table("setting", box=None, header_style="bold")
    table.add_column("value", justify="right")
    table.add_column("in force", justify="right")
    settings = flat_settings(payload["settings"])
    for key in sorted(settings.keys() | payload["differs"].keys()):
        both = payload["differs"].get(key)
        table.add_row(
            key, _value(settings.get(key)), "" if both is None else _value(both["in_force"])
        )
    console.print(table)
    _warn(console, [payload])


def _warn(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["unknown_settings"]:
            console.print(
                f"note: this release does not run {row['version']}: it does not know "
                f"{', '.join(row['unknown_settings'])}."
            )


def _told(key: str, both: dict[str, Any]) -> str:
    return f"{key} {_value(both['here'])} (not {_value(both['in_force'])})"


def _since(row: dict[str, Any]) -> str:
    """Return since when a version is in force; nothing of others."""
    at = row["in_force_since"]
    return f"in force since {at[:16].replace('T', ' ')} UTC, " if at else ""


def _value(value: Any) -> str:  # noqa: ANN401 - JSON of the settings
    return "absent" if value is None else json.dumps(value)

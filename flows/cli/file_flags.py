"""Flags of the commands that read attempt files, and what they make of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bkt_core.errors import UsageError
from datasets.imports.columns import FileOptions
from datasets.imports.file_import import ImportOptions
from datasets.imports.layouts import Layout

if TYPE_CHECKING:
    from bkt_settings.pipeline import ImportSettings


@Parameter(name="*")
@dataclass(frozen=True)
class FileFlags:
    """How a file calls and writes what we need of it."""

    layout: Layout = Layout.PLAIN
    "A ready-made mapping of columns."
    map_: Annotated[tuple[str, ...], Parameter(name="--map", negative="")] = ()
    "`column=name`, once per column that the file calls otherwise."
    time_zone: str | None = None
    "The zone of timestamps that name none, such as Europe/Berlin."
    delimiter: str | None = None
    "What stands between the columns of a text file; .csv has commas, .tsv tabs."
    concept_delimiter: str | None = None
    "What stands between several concepts of one attempt, such as ~~."

    def import_options(self, settings: ImportSettings, **given: Any) -> ImportOptions:  # noqa: ANN401 - fields of ImportOptions
        """These flags, the settings, and what else is `given`."""
        return ImportOptions(
            file=FileOptions(
                layout=self.layout,
                column_map=_column_mapping(self.map_),
                time_zone=self.time_zone,
                concept_delimiter=self.concept_delimiter,
                delimiter=self.delimiter,
                partial_credit_from=settings.partial_credit_from or None,
            ),
            future_skew=timedelta(minutes=settings.allowed_skew_minutes),
            known_users=_listed("known_users", settings.known_users),
            known_concepts=_listed("known_concepts", settings.known_concepts),
            **given,
        )


DEFAULT_FILE_FLAGS = FileFlags()


def _column_mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    """`column=name` pairs by our column."""
    broken = [pair for pair in pairs if not all(pair.partition("="))]
    if broken:
        raise UsageError(f"--map takes column=name, got {broken[0]!r}.")
    return dict(pair.split("=", 1) for pair in pairs)


def _listed(setting: str, path: str) -> frozenset[str] | None:
    """The ids in a file, one a line; None where no file is named."""
    if not path:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"import.{setting} must name a text file with one id a line, got {path!r}: {error}."
        ) from error
    return frozenset(line for line in lines if line)

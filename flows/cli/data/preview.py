"""`bkt import --preview`: show how files would be read, for people or programs."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bkt_core.errors import BktError, UsageError
from datasets.errors import FileFormatError
from datasets.imports.preview import ROWS, Preview, preview_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from datasets.imports.file_import import ImportOptions
    from flows.cli.output import Output

#: Flags without a value, and flags that the suggested command omits.
_LEFT_OUT = ("--preview", "--json", "--debug")


def show_previews(files: tuple[Path, ...], options: ImportOptions, output: Output) -> int:
    """Show what an import of each file would do; exit code 3 if one cannot be imported."""
    if not files:
        raise UsageError("--preview needs files.")
    latest = datetime.now(UTC) + options.future_skew
    found = [
        preview_file(path, options.file, source=options.source, latest=latest) for path in files
    ]
    payload = {"files": [_as_json(one) for one in found]}

    def show(console: Console) -> None:
        for one in found:
            _show(console, one)

    output.give(payload, show)
    return 0 if all(one.problem is None and _is_good(one) for one in found) else 3


@contextmanager
def suggesting_flags(path: Path, options: ImportOptions) -> Iterator[None]:
    """Append to the error for an unreadable file the options that would read it."""
    try:
        yield
    except FileFormatError as error:
        one = None
        with suppress(BktError, OSError):
            latest = datetime.now(UTC) + options.future_skew
            one = preview_file(path, options.file, source=options.source, latest=latest)
        if one is None or not one.flags or one.problem is not None or not _is_good(one):
            raise
        sentences = (str(error), *one.doubts, f"Perhaps: {command_of(one)}")
        raise FileFormatError(" ".join(sentences)) from error


def _is_good(one: Preview) -> bool:
    return one.rows is not None and (one.rows.accepted > 0 or one.rows.read == 0)


def command_of(one: Preview) -> str:
    """Return the command that imports the file: the given options and the guessed ones."""
    typed = [word for word in sys.argv[1:] if word not in _LEFT_OUT]
    words = typed if typed[:1] == ["import"] else ["import", str(one.path)]
    return " ".join(["bkt", *map(quote, words), *one.flags])


def _as_json(one: Preview) -> dict[str, Any]:
    rows = one.rows
    return {
        "path": str(one.path),
        "kind": one.kind,
        "columns": {name: list(values) for name, values in one.columns},
        "layout": one.layout.value,
        "mapping": one.mapping,
        "flags": list(one.flags),
        "doubts": list(one.doubts),
        "command": command_of(one),
        "rows": None if rows is None else rows.as_dict() | {"skipped": rows.skipped},
        "reasons": one.reasons,
        "problem": one.problem,
    }


def _show(console: Console, one: Preview) -> None:
    console.print(f"{one.path}: {one.kind}, {len(one.columns)} columns", markup=False)
    table = Table("column", "values", box=None, header_style="bold")
    for name, values in one.columns:
        table.add_row(name, ", ".join(repr(value[:30]) for value in values) or "empty")
    console.print(table)
    console.print()
    if one.mapping:
        table = Table("ours", "from", box=None, header_style="bold")
        for ours, theirs in one.mapping.items():
            table.add_row(ours, theirs)
        console.print(table)
        console.print()
    if one.problem is not None:
        console.print(f"It cannot be imported yet: {one.problem}", markup=False)
    elif one.rows is not None:
        first = "all" if one.is_whole else f"the first {ROWS:,}"
        rows = one.rows
        console.print(
            f"Of {first} rows ({rows.read:,}): {rows.accepted:,} accepted, "
            f"{rows.duplicates:,} duplicates, {rows.quarantined:,} quarantined, "
            f"{rows.skipped:,} skipped."
        )
        for rule, count in one.reasons.items():
            console.print(f"  {count:,} quarantined: {rule}")
    console.print("Nothing was written. The command would be:")
    console.print(f"  {command_of(one)}", markup=False, soft_wrap=True)
    for doubt in one.doubts:
        console.print(f"  note: {doubt}", markup=False, soft_wrap=True)

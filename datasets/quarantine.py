"""Quarantined rows with their reasons: a Parquet file of rows and a summary per rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from datasets.identity import masked
from datasets.parquet import write_frame
from datasets.whole_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Most rows that are written to the file; all rows are counted.
MAX_ROWS = 100_000
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """The number of rows that broke one rule first, with examples."""

    rule: str
    rows: int
    #: Share of all rows read.
    share: float
    #: Hashes of a few users of such rows.
    examples: tuple[str, ...]


def write_quarantine(
    folder: Path, rows: pl.DataFrame, counts: Mapping[str, int], *, n_read: int
) -> tuple[RuleCount, ...]:
    """Write `rows.parquet` and `summary.json`; equal rows give equal files.

    `rows` has a column `rule` and a column `user_id`, and at most `MAX_ROWS` rows; `counts` has
    the number of all rows by the first rule that they broke.
    """
    summary = tuple(
        RuleCount(
            rule=rule,
            rows=n_rows,
            share=n_rows / n_read if n_read else 0.0,
            examples=_examples(rows, rule),
        )
        for rule, n_rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if n_rows
    )
    write_frame(folder / "rows.parquet", rows.head(MAX_ROWS))
    write_json(
        folder / "summary.json",
        {"read": n_read, "rules": [asdict(rule) for rule in summary]},
    )
    return summary


def read_summary(folder: Path) -> tuple[RuleCount, ...]:
    """Read the summary that `write_quarantine` wrote to a folder."""
    rules: Sequence[dict[str, object]] = read_json(folder / "summary.json")["rules"]
    return tuple(
        RuleCount(
            rule=str(entry["rule"]),
            rows=int(str(entry["rows"])),
            share=float(str(entry["share"])),
            examples=tuple(str(user) for user in _list(entry["examples"])),
        )
        for entry in rules
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _examples(rows: pl.DataFrame, rule: str) -> tuple[str, ...]:
    users = rows.filter(pl.col("rule") == rule)["user_id"].head(_EXAMPLES)
    return tuple(masked(user) for user in users)

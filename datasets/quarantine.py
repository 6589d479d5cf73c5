"""Rows set aside with their reason: a Parquet file of rows and a summary per rule."""

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

#: Rows that are written out; all are counted.
MAX_ROWS = 100_000
_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """How often one rule was broken first, and whose rows show it."""

    rule: str
    rows: int
    #: Of all rows read.
    share: float
    #: A few users, hashed.
    examples: tuple[str, ...]


def write_quarantine(
    folder: Path, rows: pl.DataFrame, counts: Mapping[str, int], *, n_read: int
) -> tuple[RuleCount, ...]:
    """Write `rows.parquet` and `summary.json`; the same rows again give the same files.

    `rows` has a column `rule` and a column `user_id`, and holds at most what a person can look
    at; `counts` counts every row under the rule it broke first.
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
    """The summary that `write_quarantine` left in a folder."""
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

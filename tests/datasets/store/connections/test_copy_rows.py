"""What is laid into a temporary table comes back as it was, nulls and all."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from sqlalchemy import bindparam, text

from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.schema.types import UtcDateTime

COLUMNS = {
    "name": "id",
    "big": "int",
    "middle": "int32",
    "small": "small",
    "share": "double",
    "at": "moment",
}
MOMENT = datetime(2026, 3, 29, 1, 30, 0, 123_456, tzinfo=UTC)
EARLY = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
ROWS = [
    ("ann", 2**62, -(2**31), 32_767, 0.1, MOMENT),
    ("", 0, 0, 0, -0.0, EARLY),
    ("Ünïcödé 🙂", -1, 2**31 - 1, -32_768, 5e-324, MOMENT),
    (None, None, None, None, None, None),
    ("ann", 1, 2, 3, 1.0, MOMENT),
]
SCHEMA = {
    "name": pl.String,
    "big": pl.Int64,
    "middle": pl.Int32,
    "small": pl.Int16,
    "share": pl.Float64,
    "at": pl.Datetime("us", "UTC"),
}


def frame(rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.mark.parametrize(
    "made",
    [
        frame(ROWS),
        frame(ROWS[:3]),
        frame(ROWS[3:4]),
        frame([]),
        frame(ROWS * 3).slice(2, 9),
        pl.concat([frame(ROWS), frame(ROWS)], rechunk=False).slice(4, 3),
    ],
    ids=["all", "no nulls", "only nulls", "empty", "slice", "slice of pieces"],
)
def test_rows_come_back_as_they_were(engine, made):
    with engine.begin() as conn:
        fill_temporary(conn, "laid", COLUMNS, frame(ROWS))  # gone with the next filling
        fill_temporary(conn, "laid", COLUMNS, made)
        query = text(f"SELECT {', '.join(COLUMNS)} FROM laid").columns(at=UtcDateTime())  # noqa: S608 - names from above
        assert [tuple(row) for row in conn.execute(query)] == made.rows()
        same = text("SELECT count(*) FROM laid WHERE at = :at").bindparams(
            bindparam("at", MOMENT, type_=UtcDateTime())
        )
        assert conn.execute(same).scalar_one() == made["at"].eq(MOMENT).sum()

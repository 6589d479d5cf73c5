"""Rows of attempt files, the files they stand in, and what became of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from tests.datasets.attempt_rows import Row

LONG = "x" * 256
EARLY = Row().at
SKEW = timedelta(minutes=5)
SCHEMA = pa.schema(
    [
        ("attempt_id", pa.string()),
        ("user_id", pa.string()),
        ("question_id", pa.string()),
        ("concept_id", pa.string()),
        ("correct", pa.float64()),
        ("attempted_at", pa.timestamp("us", tz="UTC")),
    ]
)


def row(**changes: Any) -> dict[str, Any]:
    """A good row of a file, with changes."""
    good = {
        "attempt_id": "1",
        "user_id": "ann",
        "question_id": None,
        "concept_id": "fractions",
        "correct": 1,
        "attempted_at": EARLY,
    }
    return good | changes


def write(path, rows, schema=SCHEMA):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def stored(engine):
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT user_id, concept_id, correct FROM attempts ORDER BY id")
        ).all()
    return [tuple(row) for row in rows]


def counts(report):
    rows = report.rows
    return (rows.read, rows.accepted, rows.duplicates, rows.quarantined)

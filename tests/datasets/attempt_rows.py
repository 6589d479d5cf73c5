"""Attempts for tests of the border, put into a database as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import insert, text

from datasets.store.schema.tables import AttemptRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

#: When tests extract and import; later attempts are in the future.
NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt of the table; `minute` counts from 2026."""

    user: str = "ann"
    concept: str | None = "fractions"
    correct: int = 1
    minute: float = 0
    key: str | None = None

    @property
    def at(self) -> datetime:
        """When it happened."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=self.minute)


def add_attempts(conn: Connection, rows: Sequence[Row]) -> None:
    """Insert rows in their order, in the caller's transaction."""
    n = conn.execute(text("SELECT count(*) FROM attempts")).scalar_one()
    conn.execute(
        insert(AttemptRow),
        [
            {
                "source": "",
                "idempotency_key": row.key or f"key-{n + i}-{row.user}",
                "user_id": row.user,
                "concept_id": row.concept,
                "correct": row.correct,
                "attempted_at": row.at,
                "created_at": NOW,
            }
            for i, row in enumerate(rows)
        ],
    )


def add(engine: Engine, *rows: Row) -> None:
    """Insert rows in a transaction of their own."""
    with engine.begin() as conn:
        add_attempts(conn, rows)


def many(n: int, *, seed: int = 1) -> list[Row]:
    """Attempts of a few users at a few concepts, not in the order of time."""
    import numpy as np

    rng = np.random.default_rng(seed)
    users, concepts = rng.integers(0, 40, n), rng.zipf(1.6, n) % 12
    correct, minutes = rng.integers(0, 2, n), rng.integers(0, 500, n)
    names = ["", "z", "é", "Ω", "\U0001f600", "a b", "'", '"; DROP TABLE attempts; --']
    row = Row()
    return [
        replace(
            row,
            user=f"{names[user % len(names)]}{user}",
            concept=f"{names[concept % len(names)]}{concept}",
            correct=int(outcome),
            minute=int(minute),
            key=f"{seed}-{i}",
        )
        for i, (user, concept, outcome, minute) in enumerate(
            zip(users, concepts, correct, minutes, strict=True)
        )
    ]

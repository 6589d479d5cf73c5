"""Give stamps to attempts that earlier releases wrote, while the service writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.attempts.unstamped import count_unstamped
from datasets.store.connections.engines import reading
from flows.runs.database import open_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from bkt_settings.pipeline import Settings


@dataclass(frozen=True, slots=True)
class Stamped:
    """Numbers of attempts: stamped now, and still without a stamp."""

    stamped: int
    left: int


def stamp(
    settings: Settings, *, after_batch: Callable[[int], None] = lambda _n: None
) -> Stamped:
    """Stamp all attempts without a stamp; may be repeated, and goes on where it was killed."""
    with open_database(settings) as engine:
        stamped = fill_stamps(engine, at=datetime.now(UTC), after_batch=after_batch)
        with reading(engine) as conn:
            return Stamped(stamped, count_unstamped(conn))

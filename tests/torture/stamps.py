"""A child that takes stamps away, as rows of earlier releases lack them, and fills them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.connections.engines import make_engine
from datasets.store.errors import DatabaseError
from tests.torture.world import ERASABLE, USERS
from tests.torture.writers import cut_off

if TYPE_CHECKING:
    from tests.torture.faults import Ledger
    from tests.torture.world import World

#: Rows that another changes stay as they are, so that nobody waits for this child.
FREE = {"sqlite": "", "postgresql": " FOR UPDATE SKIP LOCKED"}


def stamp_forever(world: World, ledger: Ledger, slot: int) -> None:
    """Take the stamps of two users, and give all rows their stamps again."""
    engine = make_engine(world.url)
    free = FREE[engine.dialect.name]
    while not ledger.stopping:
        rng = world.rng("stamp", slot, int(ledger.units[slot]))
        time.sleep(0.3 + rng.random() / 2)
        try:
            with engine.begin() as conn:
                conn.execute(
                    text(
                        "UPDATE attempts SET recent_outcomes = NULL, n_before = NULL, "  # noqa: S608 - constants
                        "n_right_before = NULL, attempt_code = NULL WHERE id IN (SELECT id "
                        f"FROM attempts WHERE user_id IN (:one, :other){free})"
                    ),
                    {"one": rng.choice(USERS), "other": rng.choice(ERASABLE)},
                )
            fill_stamps(engine, at=datetime.now(UTC), batch_rows=20)
        except (DBAPIError, DatabaseError) as error:
            cut_off(error, ledger, slot, engine)
            continue
        ledger.units[slot] += 1
    engine.dispose()

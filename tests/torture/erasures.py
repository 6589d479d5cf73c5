"""Children that erase users, and admit some of them again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from datasets.store.attempts.erasure import erase_user, lift
from datasets.store.connections.engines import make_engine
from datasets.store.connections.fault_points import reached
from datasets.store.errors import DatabaseError
from tests.torture.world import ERASABLE
from tests.torture.writers import cut_off

if TYPE_CHECKING:
    from tests.torture.faults import Ledger
    from tests.torture.world import World


def erase_forever(world: World, ledger: Ledger, slot: int) -> None:
    """Erase users, and admit some of them again."""
    engine = make_engine(world.url)
    while not ledger.stopping:
        n = int(ledger.units[slot])
        rng = world.rng("erase", slot, n)
        time.sleep(0.2 + rng.random() / 2)
        user = rng.choice(ERASABLE)
        try:
            erase_user(engine, user, at=datetime.now(UTC), actor="torture")
            if rng.random() < 0.6:
                with engine.begin() as conn:
                    lift(conn, user)
                reached("erase: lift committed")
        except (DBAPIError, DatabaseError) as error:
            cut_off(error, ledger, slot, engine)
            continue
        ledger.units[slot] += 1
    engine.dispose()

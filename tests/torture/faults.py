"""Shared memory of one torture phase: what was acknowledged, reached and killed.

It outlives any child, because a `kill -9` leaves memory shared with the parent as it was.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.store.connections.fault_points import FAULT_POINTS, install_harness

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The chance that a child dies at a point it reaches: the first times, and from then on.
FIRST_KILL = 0.4
WANTED_KILLS = 2
#: Points of the online path are reached 500 times as often as most others; a night passes a
#: hundred points of its sweep, and some nights must come to their end.
LATER_KILL = {"online": 0.0006, "import": 0.01, "sweep": 0.004, "snapshot": 0.01}
LATER_KILL_ELSEWHERE = 0.02
#: The chance that a child dawdles at a point, which widens every race, and for how long at
#: most.
DAWDLE = 0.02
DAWDLE_SECONDS = 0.02
#: Before the first lock, where nobody is killed: long enough for a promotion to come and go.
LONG_DAWDLE = 0.1
LONG_DAWDLE_SECONDS = 3.0
#: And behind the question which row is active: a flip must wait for whoever has asked.
DAWDLES = {"online: began": LONG_DAWDLE_SECONDS, "online: attempt inserted": 0.3}
#: Between two attempts of a writer once enough were acknowledged.
CALM_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Ledger:
    """One row per slot (a place for a child); columns are counters."""

    acknowledged: NDArray[np.int64]  # (n_slots,), attempts whose commit returned
    units: NDArray[np.int64]  # (n_slots,), pieces of work done by other children
    reached: NDArray[np.int64]  # (n_slots, n_points)
    killed: NDArray[np.int64]  # (n_slots, n_points)
    deadlocks: NDArray[np.int64]  # (n_slots,)
    missed: NDArray[np.int64]  # (n_slots,), old-stamped states right after a sweep
    flags: NDArray[np.int64]  # [stopping, armed, calm]

    @classmethod
    def shared(cls, n_slots: int) -> Ledger:
        """Counters in memory that forked children share."""
        n_points = len(FAULT_POINTS)
        shapes = [
            (n_slots,),
            (n_slots,),
            (n_slots, n_points),
            (n_slots, n_points),
            (n_slots,),
            (n_slots,),
            (3,),
        ]
        arrays = []
        for shape in shapes:
            memory = mmap.mmap(-1, 8 * int(np.prod(shape)))
            arrays.append(np.frombuffer(memory, dtype=np.int64).reshape(shape))
        return cls(*arrays)

    @property
    def stopping(self) -> bool:
        """Whether children are to end their work."""
        return bool(self.flags[0])

    @property
    def armed(self) -> bool:
        """Whether children die at fault points."""
        return bool(self.flags[1])

    @property
    def pause(self) -> float:
        """Seconds that writers wait between two attempts."""
        return CALM_SECONDS if self.flags[2] else 0.0

    def calm(self) -> None:
        """Let writers slow down: enough was written, and a longer log delays each sweep."""
        self.flags[2] = 1

    def stop(self) -> None:
        """Let children end their work, and kill none of them."""
        self.flags[0], self.flags[1] = 1, 0

    def arm(self) -> None:
        """Let children work, and die."""
        self.flags[0], self.flags[1] = 0, 1


def die_at_fault_points(ledger: Ledger, slot: int, rng: random.Random) -> None:
    """Make this process die at random at the points it reaches, and count before it does."""
    index = {point: i for i, point in enumerate(FAULT_POINTS)}

    def harness(point: str) -> None:
        i = index[point]
        ledger.reached[slot, i] += 1
        if rng.random() < DAWDLE:
            time.sleep(rng.random() * DAWDLE_SECONDS)
        if not ledger.armed:
            if point in DAWDLES and rng.random() < LONG_DAWDLE:
                time.sleep(rng.random() * DAWDLES[point])
            return
        is_rare = int(ledger.killed[:, i].sum()) < WANTED_KILLS
        later = LATER_KILL.get(point.split(":")[0], LATER_KILL_ELSEWHERE)
        if rng.random() < (FIRST_KILL if is_rare else later):
            ledger.killed[slot, i] += 1
            os.kill(os.getpid(), signal.SIGKILL)

    install_harness(harness)

"""What the children of one phase work on, and everything they do that follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bkt_core.params import BktParams
from datasets.store.attempts.new_attempt import NewAttempt

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CONCEPTS = tuple(f"concept-{n:02d}" for n in range(8))
USERS = tuple(f"user-{n:03d}" for n in range(200))
ERASABLE = tuple(f"erasable-{n:02d}" for n in range(30))
LATE_SHARE = 0.1
#: Designs whose users are new all the time: a state that is there already is never missed.
NEW_USERS = ("unguarded", "guarded")
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class World:
    """One phase: a database, a seed, and how its batches write states."""

    url: str
    seed: int
    design: str = "real"

    def attempt(self, slot: int, n: int, *, turned: bool = False) -> NewAttempt:
        """The n-th attempt of a slot; the same every time, so that a repetition is one.

        `turned`: some of them with the other outcome, as a correction brings them.
        """
        rng = self.rng("attempt", slot, n)
        user = rng.choice(ERASABLE if rng.random() < 0.1 else USERS)
        if self.design in NEW_USERS:
            user = f"new-{slot}-{n // 3}"
        late = rng.random() < LATE_SHARE
        minutes = rng.randrange(n + 1) if late else n
        return NewAttempt(
            idempotency_key=f"s{slot}-{n}",
            user_id=user,
            correct=int((rng.random() < 0.6) ^ (turned and n % 3 == 0)),
            attempted_at=BEGAN + minutes * MINUTE,
            concept_ids=tuple(rng.sample(CONCEPTS, 2 if rng.random() < 0.05 else 1)),
            question_id=None if rng.random() < 0.3 else f"q{rng.randrange(50)}",
        )

    def params(self, run_id: str, concept_id: str) -> BktParams:
        """What a run finds for a concept."""
        rng = self.rng("params", run_id, concept_id)
        return BktParams(
            p_L0=rng.uniform(0.05, 0.5),
            p_T=rng.uniform(0.02, 0.4),
            p_S=rng.uniform(0.02, 0.3),
            p_G=rng.uniform(0.02, 0.3),
        )

    def rng(self, *about: object) -> random.Random:
        """Chance that depends on the seed and on what it is for."""
        return random.Random(repr((self.seed, *about)))  # noqa: S311 - a seeded test

"""Any order of attempts, imports, promotions, erasures, crashes and sweeps, modelled."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from sqlalchemy import text

from bkt_core.family.params import FamilyParams
from bkt_core.params import BktParams
from datasets.store.attempts.erasure import erase_user, lift, write_tombstone
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.connections.engines import reading
from datasets.store.connections.fault_points import install_harness
from datasets.store.errors import ErasedUserError
from datasets.store.online.recording import record
from datasets.store.params.rollback import roll_back
from datasets.store.params.switching import Switch
from datasets.store.runs.runs import start_run
from datasets.store.states.reads import read_mastery
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import sweep
from tests.datasets.store.states.test_recomputation import staged_now
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED
from tests.oracles.replay import DEFAULTS, mastery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from bkt_core.family.params import Params

USERS = st.sampled_from(["ann", "bob", "é"])
CONCEPTS = st.sampled_from(["x", "y"])
MINUTES = st.integers(0, 20)
POINTS = (
    "online: state locked", "online: attempt inserted", "online: state written",
    "import: attempts inserted", "switch: deactivated", "switch: inserted",
    "sweep: chunk written", "erase: tombstone committed", "erase: rows deleted",
)  # fmt: skip
PROBABILITY = st.floats(0.05, 0.45)
FORGETS = st.none() | st.floats(0.0, 0.5)


class CrashedError(Exception):
    """The process died here; its transaction is gone."""


class StoreMachine(RuleBasedStateMachine):
    """The model: a log of attempts, the rows in force, the erased, in plain dictionaries."""

    engine: Engine  # set by the test, one per machine class

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, str, int, int, int]] = []  # user, concept, minute, n, correct
        self.keys: dict[str, tuple[str, str]] = {}
        self.active: dict[str, tuple[float, ...]] = {}
        self.rows: dict[str, list[tuple[int, tuple[float, ...]]]] = {}
        self.pinned: set[str] = set()
        self.erased: set[str] = set()
        self.numbers = count()
        self._empty()

    def _empty(self) -> None:
        tables = (
            "mastery_snapshot", "bkt_user_skill_state", "bkt_promotion_event", "erased_user",
            "attempt_correction", "attempts",
        )  # fmt: skip
        with self.engine.begin() as conn:
            for table in tables:
                conn.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of ours
            conn.execute(text("UPDATE bkt_skill_params SET is_active = false"))

    @rule(user=USERS, concept=CONCEPTS, minute=MINUTES, correct=st.integers(0, 1))
    def attempt(self, user: str, concept: str, minute: int, correct: int) -> None:
        """A user answers, now or late."""
        key = f"k{next(self.numbers)}"
        self._record(key, user, concept, minute, correct)

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        """A key that is stored comes again, with other content: nothing changes."""
        key = data.draw(st.sampled_from(sorted(self.keys)))
        user, concept = self.keys[key]
        if user not in self.erased:
            self._record(key, user, concept, 5, 1)

    @rule(user=USERS, concept=CONCEPTS, minutes=st.lists(MINUTES, min_size=1, max_size=4))
    def bring_file(self, user: str, concept: str, minutes: list[int]) -> None:
        """An import writes several attempts at once."""
        rows = [
            {"key": f"k{next(self.numbers)}", "user": user, "concept": concept, "minutes": m}
            for m in minutes
        ]
        import_rows(self.engine, rows)
        if user not in self.erased:
            for row in rows:
                self._logged(str(row["key"]), user, concept, int(str(row["minutes"])), 1)

    @rule(concept=CONCEPTS, p=st.tuples(*4 * [PROBABILITY]), forgets=FORGETS)
    def promote(self, concept: str, p: tuple[float, ...], forgets: float | None) -> None:
        """A run switches a concept and sweeps; its staging never fits."""
        params: Params = BktParams(*p)
        if forgets is not None:
            p, params = (*p, forgets), FamilyParams(BktParams(*p), forgets)
        staged = staged_now(self.engine, concept, p_mastery=0.5)
        staged = staged.with_columns(base_version=staged["base_version"] - 1)  # never matches
        run_id = f"run-{id(self)}-{next(self.numbers)}"
        outcome = promote(self.engine, run_id, concept, params)
        if concept in self.pinned:
            assert outcome.switch is Switch.PINNED
            return
        assert outcome.param_id is not None
        self.active[concept] = p
        self.rows.setdefault(concept, []).append((outcome.param_id, p))
        sweep(
            self.engine, at=STARTED, concepts=[concept], run_id=run_id, staged=lambda _: staged
        )

    @rule(concept=CONCEPTS, data=st.data())
    def go_back(self, concept: str, data: st.DataObject) -> None:
        """A rollback to an older row or the defaults; it pins the concept."""
        choices = [(None, None), *self.rows.get(concept, [])]
        param_id, p = data.draw(st.sampled_from(choices))
        if self.active.get(concept) == p:
            return
        run_id = f"back-{id(self)}-{next(self.numbers)}"
        with self.engine.begin() as conn:
            start_run(conn, run_id=run_id, kind="rollback", at=STARTED)
            roll_back(
                conn, run_id=run_id, concept_id=concept, algo_version_id=1,
                to_param_id=param_id, at=STARTED, actor="machine",
            )  # fmt: skip
        self.pinned.add(concept)
        if p is None:
            self.active.pop(concept)
        else:
            self.active[concept] = p

    @rule(user=USERS)
    def erase(self, user: str) -> None:
        """A user goes, with everything of theirs."""
        erase_user(self.engine, user, at=STARTED, actor="machine")
        self._forgotten(user)

    @rule(user=USERS)
    def admit(self, user: str) -> None:
        """The tombstone is lifted."""
        with self.engine.begin() as conn:
            assert lift(conn, user) == (user in self.erased)
        self.erased.discard(user)

    @rule(point=st.sampled_from(POINTS), user=USERS, concept=CONCEPTS)
    def crash(self, point: str, user: str, concept: str) -> None:
        """Something dies at a point; whoever was told nothing may try again."""
        work = point.split(":")[0]
        with crashing_at(point):
            try:
                if work == "online" and user not in self.erased:
                    self._write(f"k{next(self.numbers)}", user, concept, 3, 1)
                elif work == "import":
                    import_rows(
                        self.engine,
                        [{"key": f"k{next(self.numbers)}", "user": user}],
                    )
                elif work == "switch":
                    promote(
                        self.engine,
                        f"dead-{id(self)}-{next(self.numbers)}",
                        concept,
                        BktParams(0.1, 0.1, 0.1, 0.1),
                    )
                elif work == "sweep":
                    sweep(self.engine, at=STARTED, replay_chunk=1)
                elif work == "erase":
                    erase_user(self.engine, user, at=STARTED, actor="machine")
            except CrashedError:
                pass
        if work == "erase":  # the tombstone stands: the operator runs it again
            erase_user(self.engine, user, at=STARTED, actor="machine")
            self._forgotten(user)

    @rule()
    def sweep_and_snapshot(self) -> None:
        """After a sweep every stored state is its replay, and nobody erased came back."""
        sweep(self.engine, at=STARTED, replay_chunk=2)
        write_snapshots(self.engine, run_id=None, at=STARTED)
        with reading(self.engine) as conn:
            rows = conn.execute(
                text("SELECT user_id, concept_id, p_mastery, n_attempts, is_stale FROM "
                     "bkt_user_skill_state")
            )  # fmt: skip
            stored = {(r.user_id, r.concept_id): (r.p_mastery, r.n_attempts) for r in rows}
            left = conn.execute(text("SELECT user_id FROM mastery_snapshot")).scalars()
            assert not self.erased.intersection(left)
        assert stored == self.expected()

    @invariant()
    def every_read_is_the_replay(self) -> None:
        """Whatever is stale or old-stamped: who reads sees the definition."""
        with reading(self.engine) as conn:
            read = {
                (user, m.concept_id): (m.p_mastery, m.n_attempts)
                for user in ("ann", "bob", "é")
                for m in read_mastery(conn, user)
            }
        assert read == self.expected()

    def expected(self) -> dict[tuple[str, str], tuple[float, int]]:
        """Every key's replay, from the model alone."""
        outcomes: dict[tuple[str, str], list[int]] = {}
        for user, concept, _, _, correct in sorted(self.log, key=lambda a: (a[2], a[3])):
            outcomes.setdefault((user, concept), []).append(correct)
        return {
            (user, concept): (mastery(o, self.active.get(concept, DEFAULTS)), len(o))
            for (user, concept), o in outcomes.items()
        }

    def _record(self, key: str, user: str, concept: str, minute: int, correct: int) -> None:
        try:
            self._write(key, user, concept, minute, correct)
        except ErasedUserError:
            assert user in self.erased
            return
        assert user not in self.erased
        if key not in self.keys:
            self._logged(key, user, concept, minute, correct)

    def _write(self, key: str, user: str, concept: str, minute: int, correct: int) -> None:
        with self.engine.begin() as conn:
            record(
                conn,
                NewAttempt(
                    idempotency_key=key,
                    user_id=user,
                    correct=correct,
                    attempted_at=STARTED + timedelta(minutes=minute),
                    concept_ids=(concept,),
                ),
                at=STARTED,
            )

    def _logged(self, key: str, user: str, concept: str, minute: int, correct: int) -> None:
        self.keys[key] = (user, concept)
        self.log.append((user, concept, minute, next(self.numbers), correct))

    def _forgotten(self, user: str) -> None:
        self.erased.add(user)
        self.log = [attempt for attempt in self.log if attempt[0] != user]
        self.keys = {key: owner for key, owner in self.keys.items() if owner[0] != user}


@contextmanager
def crashing_at(point: str) -> Iterator[None]:
    """Raise at the point, where a kill would lose the transaction just the same."""

    def harness(reached: str) -> None:
        if reached == point:
            raise CrashedError(point)

    install_harness(harness)
    try:
        yield
    finally:
        install_harness(None)


@pytest.mark.slow
def test_every_history_keeps_every_state_equal_to_its_replay(engine):
    machine = type("Machine", (StoreMachine,), {"engine": engine})
    run_machine(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_tombstone_alone_keeps_a_user_out(engine):
    with engine.begin() as conn:
        write_tombstone(conn, "ann", at=STARTED, actor="test")
    assert import_rows(engine, [{"user": "ann"}]) == ["erased"]

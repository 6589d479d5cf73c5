"""One phase of torture: children forked, killed and replaced until enough was done."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.torture.activations import activate_forever
from tests.torture.batches import retrain_forever, roll_back_forever
from tests.torture.erasures import erase_forever
from tests.torture.faults import Ledger, die_at_fault_points
from tests.torture.invariants import settle, violations
from tests.torture.stamps import stamp_forever
from tests.torture.writers import (
    ASYNC_TASKS,
    import_files,
    write_online,
    write_online_async,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres_server import PostgresServer
    from tests.torture.world import World

    Work = Callable[[World, Ledger, int], None]

#: Exit status of a child whose work raised what it must not.
BROKEN = 70
STOP_SECONDS = 60
PR_SET_PDEATHSIG = 1
BATCHES = (retrain_forever, roll_back_forever, activate_forever)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything, and when it is enough."""

    attempts: int
    faults: int
    seconds: float
    writers: int = 4
    async_services: int = 1
    importers: int = 1
    nightlies: int = 2
    rollbacks: int = 1
    erasers: int = 1
    activators: int = 2
    stampers: int = 1
    #: Activations that must have come to their end before it is enough.
    activations: int = 0
    server_crashes: int = 0
    #: Seconds between two random kills; 0: none, and no child dies at a fault point.
    kill_every: float = 1.0
    #: Go on until a child has died at every fault point.
    every_point: bool = False


@dataclass(slots=True)
class PhaseResult:
    """What one phase did and what it found."""

    ledger: Ledger
    attempts: int  # acknowledged, one by one or in a file
    imported: int  # of them, in a file
    random_kills: int
    server_crashes: int
    seconds: float
    violations: dict[str, int]
    broken: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Kills at fault points, at random in running work, and of the server."""
        return int(self.ledger.killed.sum()) + self.random_kills + self.server_crashes


@dataclass(slots=True)
class _Child:
    work: Work
    slot: int
    pid: int = 0
    births: int = 0
    #: Fault points that its slot had reached when it was forked.
    reached_before: int = 0


def run_phase(world: World, plan: Plan, server: PostgresServer | None = None) -> PhaseResult:
    """Torture one database and judge it."""
    children, online, imports, n_slots = _children(plan)
    ledger = Ledger.shared(n_slots)
    if plan.kill_every:
        ledger.arm()
    rng = world.rng("phase")
    began = time.monotonic()
    for child in children:
        _fork(world, ledger, child)
    kills, crashes, broken = 0, 0, []
    next_kill = began + plan.kill_every
    crash_at = [began + 20 * (n + 1) for n in range(plan.server_crashes)] if server else []
    while not _enough(ledger, plan, kills + crashes, began, online, imports, crash_at):
        time.sleep(0.02)
        broken += _replace_the_dead(world, ledger, children)
        now = time.monotonic()
        if plan.kill_every and now > next_kill:
            kills += _kill_one(rng, children, ledger)
            next_kill = now + plan.kill_every * rng.uniform(0.5, 1.5)
        if server is not None and crash_at and now > crash_at[0]:
            crash_at.pop(0)
            server.kill()
            server.start()
            crashes += 1
        if broken:
            break
    ledger.stop()
    broken += _wait_for_all(children)
    spent = time.monotonic() - began
    broken += run_apart(lambda: settle(world))
    found: dict[str, int] = {}
    broken += run_apart(lambda: violations(world, ledger, online, imports), found)
    answered, imported = (
        int(ledger.acknowledged[slots.start : slots.stop].sum()) for slots in (online, imports)
    )
    return PhaseResult(
        ledger, answered + imported, imported, kills, crashes, spent, found, broken
    )


def run_apart(work: Callable[[], object], answer: dict[str, int] | None = None) -> list[str]:
    """Run in a fork, so that the parent stays without threads; a dict comes back by a pipe."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            die_with_parent()
            os.close(ours)
            result = work()
            if isinstance(result, dict):
                os.write(theirs, repr(result).encode())
        except BaseException:  # noqa: BLE001 - a forked child must not return into the parent's code
            os.write(theirs, traceback.format_exc().encode()[-4000:])
            status = BROKEN
        os._exit(status)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    if status:
        return [said or f"a child ended with status {status}"]
    if answer is not None:
        import ast

        answer.update(ast.literal_eval(said))
    return []


def _children(plan: Plan) -> tuple[list[_Child], range, range, int]:
    """Children with their slots: online first, then imports, then all others."""
    children = [_Child(write_online, slot) for slot in range(plan.writers)]
    first = plan.writers
    for _ in range(plan.async_services):
        children.append(_Child(write_online_async, first))
        first += ASYNC_TASKS
    online = range(first)
    imports = range(first, first + plan.importers)
    others: list[Work] = [
        *[import_files] * plan.importers,
        *[retrain_forever] * plan.nightlies,
        *[roll_back_forever] * plan.rollbacks,
        *[erase_forever] * plan.erasers,
        *[activate_forever] * plan.activators,
        *[stamp_forever] * plan.stampers,
    ]
    children += [_Child(work, first + i) for i, work in enumerate(others)]
    return children, online, imports, first + len(others)


def _fork(world: World, ledger: Ledger, child: _Child) -> None:
    child.births += 1
    child.reached_before = _reached_by(child, ledger)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        child.pid = pid
        return
    status = 0
    try:
        die_with_parent()
        rng = world.rng("child", child.slot, child.births)
        die_at_fault_points(ledger, child.slot, rng)
        child.work(world, ledger, child.slot)
    except BaseException:  # noqa: BLE001 - a forked child must not return into the parent's code
        traceback.print_exc()
        status = BROKEN
    sys.stderr.flush()
    os._exit(status)


def die_with_parent() -> None:
    """Let the kernel kill this child when its parent is gone, whatever took the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _replace_the_dead(world: World, ledger: Ledger, children: list[_Child]) -> list[str]:
    broken = []
    for child in children:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid == 0:
            continue
        if not os.WIFSIGNALED(status):
            broken.append(f"{child.work.__name__} ended with status {status}")
        _fork(world, ledger, child)
    return broken


def _kill_one(rng: random.Random, children: list[_Child], ledger: Ledger) -> int:
    """Kill a child somewhere in its work; batches more seldom, so that some end.

    Returns 1 if it was at work: one that had reached no point since it was forked is no fault.
    """
    weights = [1 if child.work in BATCHES else 3 for child in children]
    (victim,) = rng.choices(children, weights)
    os.kill(victim.pid, signal.SIGKILL)
    return int(_reached_by(victim, ledger) > victim.reached_before)


def _reached_by(child: _Child, ledger: Ledger) -> int:
    return int(ledger.reached[child.slot].sum())


def _wait_for_all(children: list[_Child]) -> list[str]:
    """Children end their piece of work; one that does not is stuck, and that is a finding."""
    broken, deadline = [], time.monotonic() + STOP_SECONDS
    for child in children:
        while True:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                broken.append(f"{child.work.__name__} did not end within {STOP_SECONDS} s")
                status = 0
                break
            time.sleep(0.02)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            broken.append(f"{child.work.__name__} ended with status {status}")
    return broken


def _enough(
    ledger: Ledger,
    plan: Plan,
    other_faults: int,
    began: float,
    online: range,
    imports: range,
    crash_at: list[float],
) -> bool:
    if time.monotonic() - began > plan.seconds:
        return True
    attempts = sum(int(ledger.acknowledged[slot]) for slot in (*online, *imports))
    if attempts >= plan.attempts:
        ledger.calm()
    faults = int(ledger.killed.sum()) + other_faults
    unhit = plan.every_point and bool((ledger.killed.sum(axis=0) == 0).any())
    done = attempts >= plan.attempts and faults >= plan.faults and not unhit and not crash_at
    return done and activated(ledger, plan) >= plan.activations


def activated(ledger: Ledger, plan: Plan) -> int:
    """Activations that came to their end; the children of the last slots count them."""
    return int(ledger.units[ledger.units.size - plan.activators :].sum())

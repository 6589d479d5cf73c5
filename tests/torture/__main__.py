"""`python -m tests.torture`: kill everything, then count what was lost.

Prints seed, commit and database versions, hits per fault point, and violations per invariant;
the four known-bad designs run under the same harness and must show violations.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before Polars is imported, and forked

from datasets.store.connections.engines import make_engine
from datasets.store.connections.fault_points import FAULT_POINTS
from datasets.store.params.seeds import seed as seed_database
from datasets.store.schema.revision import upgrade
from datasets.store.states.replays import warm_up
from tests.postgres_server import PostgresServer, postgres_server
from tests.torture.phase import PhaseResult, Plan, activated, run_apart, run_phase
from tests.torture.world import BEGAN, NEW_USERS, World
from tests.torture.writers import warm_up_imports

BAD_DESIGNS = {
    "overwrite": "overwrite from staging",
    "watermark": "id watermark plus tail",
    "early": "parameters read before the lock",
    "unguarded": "another version in force without a guard",
}
#: No kills: these lose updates without any help.
BAD_PLAN = Plan(
    attempts=10**9, faults=0, seconds=25, importers=0, rollbacks=0, erasers=0, nightlies=1,
    async_services=0, writers=6, activators=0, stampers=0, kill_every=0.0,
)  # fmt: skip
#: Versions there and back under writers of new users.
FLIP_PLAN = replace(BAD_PLAN, nightlies=0, activators=1)
BAD_TRIES = 6
PHASES = ("postgres", "sqlite", "bad")
#: Of the minutes, at most; the bad designs take what they need, some seconds to two minutes.
SHARES = {"postgres": 0.64, "sqlite": 0.16}


def say(line: str) -> None:
    """A line of the report, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run all phases; 0 if every invariant held and every bad design was caught."""
    options = _options()
    say(f"seed {options.seed} · commit {_commit()} · SQLite {sqlite3.sqlite_version}")
    began = time.monotonic()
    warm_up()  # children inherit the compiled model
    warm_up_imports()
    if "prefect" in sys.modules:
        raise RuntimeError(
            "Children are forked, and a process that loaded Prefect has threads."
        )
    held = []
    with postgres_server(fsync="off" if options.short else "on") as server:
        say(f"PostgreSQL {server.version()} · {os.cpu_count()} cores")
        outcomes = []
        if "postgres" in options.only:
            outcomes.append(_torture_postgres(server, options))
        if "sqlite" in options.only:
            outcomes.append(_torture_sqlite(options))
        held += [good for good, _ in outcomes]
        if outcomes:
            _total([outcome for _, outcome in outcomes])
        if "bad" in options.only:
            held += _bad_designs(server, options)
    say(f"\n{'ok' if all(held) else 'FAILED'} after {time.monotonic() - began:.0f} s")
    return 0 if all(held) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=20260301)
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--activations", type=int, default=10, help="on each database")
    parser.add_argument("--kill-every", type=float, default=1.0, help="seconds")
    parser.add_argument("--minutes", type=float, default=22, help="at most, for all phases")
    parser.add_argument("--short", action="store_true", help="the form in the test suite")
    parser.add_argument("--only", nargs="+", choices=PHASES, default=PHASES)
    options = parser.parse_args()
    if options.short:
        options.attempts, options.faults, options.minutes = 1500, 40, 3
        options.activations = 1
    return options


def _torture_postgres(
    server: PostgresServer, options: argparse.Namespace
) -> tuple[bool, PhaseResult]:
    plan = Plan(
        attempts=options.attempts,
        faults=options.faults,
        seconds=options.minutes * 60 * SHARES["postgres"],
        server_crashes=1 if options.short else 8,
        every_point=not options.short,
        activations=options.activations,
        kill_every=options.kill_every,
    )
    world = World(_prepared(server.new_database()), options.seed)
    outcome = run_phase(world, plan, server)
    return _report("PostgreSQL", outcome, plan), outcome


def _torture_sqlite(options: argparse.Namespace) -> tuple[bool, PhaseResult]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(_prepared(f"sqlite:///{folder}/bkt.db"), options.seed)
        plan = Plan(
            attempts=max(options.attempts // 20, 300),
            faults=options.faults // 5,
            seconds=options.minutes * 60 * SHARES["sqlite"],
            writers=2,
            every_point=not options.short,
            activations=options.activations,
            kill_every=options.kill_every,
        )
        outcome = run_phase(world, plan)
        return _report("SQLite", outcome, plan), outcome


def _total(outcomes: list[PhaseResult]) -> None:
    attempts, faults = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("attempts", "faults")
    )
    wrong = sum(sum(outcome.violations.values()) for outcome in outcomes)
    say(f"\nin all: {attempts:,} attempts, {faults:,} faults, {wrong} violations")


def _bad_designs(server: PostgresServer, options: argparse.Namespace) -> list[bool]:
    """Whether each bad design is caught and ours is not; the short form leaves out the rare."""
    if options.short:
        hasty = replace(BAD_PLAN, seconds=8)
        names = ("overwrite", "watermark")
        return [_bad_design_is_caught(server, options.seed, name, hasty) for name in names]
    return [
        *(
            _bad_design_is_caught(server, options.seed, name, _plan_of(name))
            for name in BAD_DESIGNS
        ),
        *(_control_is_clean(server, options.seed, name) for name in ("control", "guarded")),
    ]


def _plan_of(design: str) -> Plan:
    return FLIP_PLAN if design in NEW_USERS else BAD_PLAN


def _bad_design_is_caught(server: PostgresServer, seed: int, design: str, plan: Plan) -> bool:
    """Whether a design that loses updates shows violations, in a few tries."""
    for turn in range(BAD_TRIES):
        world = World(_prepared(server.new_database()), seed + turn, design)
        outcome = run_phase(world, plan)
        found = {name: n for name, n in outcome.violations.items() if n}
        say(f"\nknown bad: {BAD_DESIGNS[design]}: {found or 'nothing found'}")
        for trouble in outcome.broken:
            say(f"  {trouble}")
        if found:
            return True
    return False


def _control_is_clean(server: PostgresServer, seed: int, design: str) -> bool:
    """Our design under the very plan that catches the bad ones."""
    world = World(_prepared(server.new_database()), seed, design)
    outcome = run_phase(world, _plan_of(design))
    say(f"\n{design}, our design under the same plan: {outcome.violations}")
    return not any(outcome.violations.values()) and not outcome.broken


def _prepared(url: str) -> str:
    """The URL of a database as `bkt init` leaves it; done in a fork."""

    def prepare() -> None:
        engine = make_engine(url)
        upgrade(engine)
        with engine.begin() as conn:
            seed_database(conn, at=BEGAN)
        engine.dispose()

    trouble = run_apart(prepare)
    if trouble:
        raise RuntimeError(trouble[0])
    return url


def _report(database: str, outcome: PhaseResult, plan: Plan) -> bool:
    say(
        f"\n{database}: {outcome.attempts:,} concurrent attempts acknowledged "
        f"({outcome.imported:,} in files, {outcome.attempts / outcome.seconds:.0f} a second) "
        f"and {outcome.faults:,} faults in {outcome.seconds:.0f} s "
        f"({outcome.random_kills} kills at random, {outcome.server_crashes} server crashes, "
        f"{int(outcome.ledger.deadlocks.sum())} deadlocks), "
        f"{activated(outcome.ledger, plan)} activations"
    )
    say("  fault point                     reached   killed")
    for i, point in enumerate(FAULT_POINTS):
        reached, killed = outcome.ledger.reached[:, i].sum(), outcome.ledger.killed[:, i].sum()
        say(f"  {point:30} {reached:9,} {killed:8,}")
    say("  invariant                                          violations")
    for name, n in outcome.violations.items():
        say(f"  {name:50} {n:8,}")
    for trouble in outcome.broken:
        say(f"  broken: {trouble}")
    unhit = [
        point for i, point in enumerate(FAULT_POINTS) if not outcome.ledger.killed[:, i].sum()
    ]
    if unhit:
        say(f"  never killed at: {', '.join(unhit)}")
    enough = (
        outcome.attempts >= plan.attempts
        and outcome.faults >= plan.faults
        and activated(outcome.ledger, plan) >= plan.activations
    )
    if not enough:
        say(
            f"  too little: {plan.attempts:,} attempts, {plan.faults} faults and "
            f"{plan.activations} activations were asked for"
        )
    held = bool(outcome.violations) and not any(outcome.violations.values())
    covered = not (plan.every_point and unhit)
    return held and enough and covered and not outcome.broken


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())

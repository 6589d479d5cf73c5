"""Nights over many small concepts on SQLite, as a user runs them: what a concept costs.

`python -m benchmarks.concepts` makes a log of 5,000 concepts with 12 attempts each, of 300
users, then runs `bkt retrain` twice in processes of their own, each with a Prefect server of
its own: the first night, and one with nothing new. Imports and servers are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

SEED = 14
N_IN_A_ROW = 4  # attempts of one user at one concept
TRUE = (0.3, 0.15, 0.1, 0.2)
#: Seconds of the first night; CPU seconds of the night with nothing new.
BARS = {"first night, s": 25.0, "nothing new, CPU-s": 10.0}


@dataclass(frozen=True, slots=True)
class Night:
    """One `bkt` command, with all that it started and waited for."""

    wall: float
    cpu: float
    told: dict[str, Any]


def main() -> int:
    """Measure, print the table, and return how many bars were missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concepts", description=__doc__)
    parser.add_argument("--concepts", type=int, default=5_000)
    parser.add_argument("--attempts", type=int, default=12, help="of a concept")
    parser.add_argument("--users", type=int, default=300)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="bkt-concepts-") as folder:
        home = Path(folder)
        log = home / "attempts.parquet"
        write_log(log, options.concepts, options.attempts, options.users)
        bkt(home, "init")
        bkt(home, "import", str(log))
        bkt(home, "retrain", "--dry-run", "--concept", "c00000")  # compiles what is missing
        nights = {"first": bkt(home, "retrain"), "nothing new": bkt(home, "retrain")}
    print(
        f"{options.concepts:,} concepts x {options.attempts} attempts, {os.cpu_count()} cores"
    )
    for name, night in nights.items():
        print(f"{name}: {night.wall:.1f} s, {night.cpu:.1f} CPU-s, {night.told['status']}")
        print(f"  {night.told['concepts']} {night.told['states']}")
        print(f"  {night.told['seconds']}")
    return show_bars(nights["first"], nights["nothing new"])


def write_log(path: Path, n_concepts: int, n_attempts: int, n_users: int) -> None:
    """Attempts that follow the model, four of a user in a row."""
    rng = np.random.default_rng(SEED)
    n_rows = n_concepts * n_attempts
    n_keys = -(-n_attempts // N_IN_A_ROW)
    users = np.concatenate(
        [rng.choice(n_users, n_keys, replace=False) for _ in range(n_concepts)]
    )
    nth = np.tile(np.arange(n_attempts), n_concepts)
    keys = np.repeat(np.arange(n_concepts) * n_keys, n_attempts) + nth // N_IN_A_ROW
    began = 1_700_000_000 + rng.integers(0, 10_000_000, users.size)
    pl.DataFrame(
        {
            "attempt_id": [f"a{row}" for row in range(n_rows)],
            "user_id": [f"u{user}" for user in users[keys]],
            "concept_id": [f"c{row // n_attempts:05d}" for row in range(n_rows)],
            "correct": answers(rng, n_rows),
            "attempted_at": pl.Series((began[keys] + nth % N_IN_A_ROW * 60) * 1_000_000)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
        }
    ).write_parquet(path)


def answers(rng: np.random.Generator, n_rows: int) -> list[int]:
    """Answers of learners in runs of four, under the same parameters at every concept."""
    found = []
    p_known, p_learn, p_slip, p_guess = TRUE
    for row in range(n_rows):
        if row % N_IN_A_ROW == 0:
            knows = rng.random() < p_known
        found.append(int(rng.random() < (1 - p_slip if knows else p_guess)))
        knows = knows or rng.random() < p_learn
    return found


def bkt(home: Path, *arguments: str) -> Night:
    """Run a command; `told` is the object it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BKT_")}
    env |= {"BKT_DATA_DIR": str(home / "var")}
    command = [sys.executable, "-m", "flows", *arguments, "--json"]
    before, began = _cpu_of_children(), time.perf_counter()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    wall = time.perf_counter() - began
    if done.returncode not in (0, 3):  # 3: nothing was promoted
        raise SystemExit(f"`bkt {' '.join(arguments)}` must end well, got {done.returncode}.")
    return Night(wall, _cpu_of_children() - before, json.loads(done.stdout.splitlines()[-1]))


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def show_bars(first: Night, nothing_new: Night) -> int:
    """The figures against their bars."""
    missed = 0
    found = {"first night, s": first.wall, "nothing new, CPU-s": nothing_new.cpu}
    for name, bar in BARS.items():
        verdict = "ok" if found[name] <= bar else "MISSED"
        missed += verdict == "MISSED"
        print(f"{name:20}{found[name]:8.1f}  bar {bar:g}  {verdict}")
    return missed


if __name__ == "__main__":
    sys.exit(main())

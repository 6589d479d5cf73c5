"""Every figure that is asked of the chain on real attempt logs, measured through `bkt` itself.

`make accept DATA=folder` runs it; the folder's README describes the files. One database per
data set. Each line names the figure, its limit and what was measured; the exit code is 1 if any
figure falls short.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from benchmarks.parts.accept_forgetting import Bars, accept_forgetting
from tests.oracles.replay import DEFAULTS, mastery
from tests.postgres_server import postgres_server


@dataclass
class Findings:
    """What was measured, line by line."""

    failed: int = 0
    lines: list[str] = field(default_factory=list)

    def note(self, figure: str, measured: object, limit: str, *, holds: bool) -> None:
        """Print one figure beside its limit."""
        self.failed += not holds
        print(
            f"{'ok  ' if holds else 'FAIL'}  {figure:<58} {measured!s:>12}   {limit}",
            flush=True,
        )


class Chain:
    """One data set in a database of its own, driven by the command line."""

    def __init__(self, root: Path, url: str) -> None:
        self.url = url
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith("BKT_")
        } | {"BKT_DATABASE_URL": url, "BKT_DATA_DIR": str(root)}

    def bkt(self, *words: str) -> dict[str, object]:
        """Run one command with --json and return its object; exit code 0 or it raises."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("bkt")), *words, "--json"],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )
        if done.returncode != 0:
            raise SystemExit(f"bkt {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)

    def fill(self, attempts: Path) -> dict[str, object]:
        """Init, import, retrain; returns what retrain said."""
        self.bkt("init")
        rows = self.bkt("import", str(attempts))["rows"]
        assert rows["read"] == rows["accepted"] + rows["duplicates"] + rows["quarantined"], rows
        return self.bkt("retrain")


ACTIVE = sa.text("SELECT concept_id, p_l0, p_t, p_s, p_g FROM bkt_skill_params WHERE is_active")
LOG = sa.text("SELECT user_id, concept_id, correct FROM attempts ORDER BY attempted_at, id")
STATES = sa.text("SELECT user_id, concept_id, p_mastery, n_attempts FROM bkt_user_skill_state")


def wrong_states(url: str) -> tuple[int, int]:
    """How many states exist, and how many differ from the replay of their attempts."""
    engine = sa.create_engine(url)
    outcomes: dict[tuple[str, str], list[int]] = defaultdict(list)
    with engine.connect() as database:
        active = {row[0]: tuple(row[1:]) for row in database.execute(ACTIVE)}
        for user, concept, correct in database.execute(LOG):
            outcomes[user, concept].append(correct)
        states = {(row[0], row[1]): (row[2], row[3]) for row in database.execute(STATES)}
    engine.dispose()
    wrong = len(outcomes.keys() ^ states.keys())
    for key, history in outcomes.items():
        params = active.get(key[1], DEFAULTS)
        wrong += states.get(key) != (mastery(history, params), len(history))
    return len(states), wrong


def params_of(chain: Chain) -> dict[str, tuple[float, ...]]:
    """What is in force, by concept."""
    rows = chain.bkt("params")["params"]
    return {
        row["concept_id"]: tuple(row[name] for name in ("p_L0", "p_T", "p_S", "p_G"))
        for row in rows
        if row["param_id"] is not None
    }


def accept_builder(
    data: Path, chain: Chain, found: Findings, label: str
) -> dict[str, tuple[float, ...]]:
    """ASSISTments 2009-10 skill builder: train, promote, score the fixed test half."""
    run = chain.fill(data / "assist0910_builder_train.parquet")
    concepts, metrics = run["concepts"], run["metrics"]
    found.note(
        f"{label}: concepts promoted of {concepts['seen']}",
        concepts["promoted"],
        ">= 90",
        holds=concepts["promoted"] >= 90,
    )
    found.note(
        f"{label}: out-of-fold AUC",
        f"{metrics['auc']:.4f}",
        ">= .790",
        holds=metrics["auc"] >= 0.790,
    )
    found.note(
        f"{label}: out-of-fold RMSE",
        f"{metrics['rmse']:.4f}",
        "<= .409",
        holds=metrics["rmse"] <= 0.409,
    )
    scores = chain.bkt("evaluate", str(data / "assist0910_builder_test.parquet"))
    found.note(
        f"{label}: AUC on the test half",
        f"{scores['auc']:.4f}",
        ">= .800",
        holds=scores["auc"] >= 0.800,
    )
    found.note(
        f"{label}: RMSE on the test half",
        f"{scores['rmse']:.4f}",
        "<= .404",
        holds=scores["rmse"] <= 0.404,
    )
    finish(chain, found, label)
    params = params_of(chain)
    test = data / "assist0910_builder_test.parquet"
    accept_forgetting(chain, found, label, Bars(0.813, None, 0.470, None, test))
    return params


def accept_algebra(
    data: Path, chain: Chain, found: Findings, label: str
) -> dict[str, tuple[float, ...]]:
    """KDD Cup 2010 Algebra I 2005-06: many tiny and one-sided concepts."""
    run = chain.fill(data / "algebra05_114u.parquet")
    concepts, metrics = run["concepts"], run["metrics"]
    found.note(
        f"{label}: concepts skipped",
        concepts["skipped"],
        "= 58",
        holds=concepts["skipped"] == 58,
    )
    found.note(
        f"{label}: concepts failed", concepts["failed"], "= 0", holds=concepts["failed"] == 0
    )
    found.note(
        f"{label}: out-of-fold AUC",
        f"{metrics['auc']:.4f}",
        ">= .733",
        holds=metrics["auc"] >= 0.733,
    )
    found.note(
        f"{label}: out-of-fold RMSE",
        f"{metrics['rmse']:.4f}",
        "<= .398",
        holds=metrics["rmse"] <= 0.398,
    )
    finish(chain, found, label)
    params = params_of(chain)
    accept_forgetting(chain, found, label, Bars(0.757, 0.3920, 0.474, 0.640))
    return params


def finish(chain: Chain, found: Findings, label: str) -> None:
    """What holds for every data set: exact states, and a second run that changes nothing."""
    states, wrong = wrong_states(chain.url)
    found.note(
        f"{label}: states that differ from their replay, of {states}",
        wrong,
        "= 0",
        holds=wrong == 0,
    )
    again = chain.bkt("retrain")
    found.note(
        f"{label}: a second run",
        again["status"],
        "unchanged",
        holds=again["status"] == "unchanged",
    )


def main() -> int:
    """Run both data sets on SQLite and on PostgreSQL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the real attempt logs")
    data = parser.parse_args().data
    found = Findings()
    sets = {"builder": accept_builder, "algebra": accept_algebra}
    with (
        tempfile.TemporaryDirectory(prefix="bkt-accept-") as scratch,
        postgres_server() as server,
    ):
        for name, accept in sets.items():
            on_sqlite = Path(scratch) / f"{name}-sqlite"
            on_sqlite.mkdir()
            one = accept(
                data,
                Chain(on_sqlite, f"sqlite:///{on_sqlite}/bkt.db"),
                found,
                f"{name}, SQLite",
            )
            on_postgres = Path(scratch) / f"{name}-postgres"
            on_postgres.mkdir()
            url = server.new_database()
            other = accept(data, Chain(on_postgres, url), found, f"{name}, PostgreSQL")
            found.note(
                f"{name}: parameters equal on both, to the last bit",
                one == other,
                "True",
                holds=one == other,
            )
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())

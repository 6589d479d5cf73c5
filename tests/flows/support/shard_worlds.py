"""A run over one extraction whose concepts lie in shards of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bkt_core.params import BktParams
from bkt_settings.pipeline import Settings, load_settings
from datasets.extracts import shards as extract_shards
from datasets.extracts.extraction import extract_attempts
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from flows.runs.plan import begin_run
from flows.runs.requests import FitRequest
from flows.shards.plan import plan_shards
from tests.flows.support.attempt_logs import fill_log

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from sqlalchemy import Engine

    from datasets.extracts.extraction import Extract
    from flows.runs.plan import RunPlan
    from flows.shards.work import ShardJob

BEGINS = datetime(2026, 1, 5, tzinfo=UTC)
TRUE = BktParams(p_L0=0.3, p_T=0.2, p_S=0.1, p_G=0.2)


@dataclass(frozen=True)
class World:
    """One extraction of seven concepts in shards of their own, and a run over it."""

    engine: Engine
    settings: Settings
    extract: Extract
    plan: RunPlan

    def jobs(self) -> list[ShardJob]:
        """The shards of the run, as it would work on them now."""
        return plan_shards(self.settings, self.plan, self.extract)


def make_world(home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> World:
    """One concept with a third of all attempts among six others."""
    monkeypatch.setattr(extract_shards, "SHARD_ROWS", 1)
    monkeypatch.setenv("BKT_DATABASE_URL", str(engine.url))
    small = {f"concept {n}": TRUE for n in range(6)}
    fill_log(engine, home, small, n_users=60, begins=BEGINS)
    fill_log(engine, home, {"large": TRUE}, n_users=180, begins=BEGINS, source="more")
    settings, now = load_settings(), datetime.now(UTC)
    extract = extract_attempts(engine, settings.data_dir, at=now)
    with reading(engine) as conn:
        version = active_algorithm(conn)
    plan = begin_run(engine, settings, FitRequest(), extract, version, kind="fit", at=now)
    return World(engine, settings, extract.file_under(plan.run_dir), plan)


def on(settings: Settings, runner: str, address: str = "", *, n: int = 2) -> Settings:
    """The settings with another runner and number of workers."""
    return load_settings(
        data_dir=settings.data_dir,
        run=settings.run.model_dump()
        | {"runner": runner, "dask_address": address, "threads": n},
    )

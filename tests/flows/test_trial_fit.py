"""A version that is no more than a candidate: its settings, beside those in force."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bkt_core.params import BktParams
from bkt_settings.pipeline import load_settings
from datasets.extracts.extraction import extract_attempts
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import algorithm
from flows.runs.plan import begin_run
from flows.runs.requests import FitRequest
from flows.shards.plan import plan_shards
from flows.shards.work import fit_shard
from flows.shards.works import read_works
from tests.flows.support.attempt_logs import fill_log

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

#: Most users know it before they begin, as on real logs.
KNOWN_BEFORE = BktParams(p_L0=0.8, p_T=0.2, p_S=0.1, p_G=0.2)
BEGINS = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(("version", "highest"), [("v1", 0.5), ("v2", 0.95)])
def test_a_trial_fits_inside_the_bounds_of_the_version_it_names(
    bkt_home: Path,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    highest: float,
):
    """With L0 = 0.8 the fit ends on the bound of v1 and near the truth with v2."""
    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    monkeypatch.setenv("BKT_FIT__STARTS", "1")
    fill_log(sqlite_engine, bkt_home, {"sums": KNOWN_BEFORE}, n_users=300, begins=BEGINS)
    settings, now = load_settings(), datetime.now(UTC)
    extract = extract_attempts(sqlite_engine, bkt_home, at=now)
    with reading(sqlite_engine) as conn:
        chosen = algorithm(conn, version)
    request = FitRequest(algo=version)
    plan = begin_run(sqlite_engine, settings, request, extract, chosen, kind="fit", at=now)
    extract.file_under(plan.run_dir)
    assert plan.algo_version == version
    (job,) = plan_shards(settings, plan, extract)
    assert job.plan.options.bounds == chosen.params.bounds
    assert job.plan.options.bounds.L0_max == highest
    fit_shard(job)
    (work,) = read_works(job.out)
    fitted = work.evidence.fit.params
    if version == "v1":
        assert fitted.p_L0 == highest
    else:
        assert 0.65 < fitted.p_L0 < highest

"""Flow: fit, gate and log without promoting. `bkt fit` runs this flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_settings.pipeline import load_settings
from datasets.sequences.warm_up import compile_row_kernels
from datasets.store.runs.run_lock import alongside
from flows.extract_attempts import extract_attempts
from flows.fit_concepts import fit_concepts
from flows.lifecycle.begin import plan_night, require_engine
from flows.lifecycle.close import close_run
from flows.lifecycle.deployed import deployed, ended, quiet_subflows
from flows.lifecycle.record import recorded_early_failure, recorded_failure
from flows.lifecycle.stages import NOTHING_PROMOTED, NOTHING_RECOMPUTED
from flows.runs.database import open_database
from flows.runs.log import run_log
from flows.runs.requests import FitRequest
from flows.runs.summary import RunSummary, Stopwatch
from flows.shards.dask_cluster import require_same_versions

if TYPE_CHECKING:
    from flows.lifecycle.stages import Fitted


@deployed("trial-fit")
def trial_fit(request: FitRequest | None = None) -> RunSummary:
    """Extract, fit, gate and log; nothing is promoted, so that no lock is needed."""
    settings, request, watch = load_settings(), request or FitRequest(), Stopwatch()
    request.check()
    with (
        quiet_subflows(),
        run_log(settings, "fit", request) as log,
        open_database(settings) as engine,
        alongside(engine),
    ):
        require_same_versions(settings)
        require_engine(settings, request)
        with watch.stage("compile"):
            compile_row_kernels()
        with watch.stage("extract"), recorded_early_failure(engine, "fit", request):
            versions = () if request.algo is None else (request.algo,)
            extract = extract_attempts(settings, full=request.full, versions=versions)
        plan = plan_night(engine, settings, request, extract)
        log.named(plan.run_id, plan.run_dir)
        with recorded_failure(engine, settings, plan):
            fitted: Fitted = fit_concepts(settings, plan).unquote()
            nothing = NOTHING_PROMOTED, NOTHING_RECOMPUTED
            return ended(close_run(engine, settings, plan, fitted, *nothing, watch))

"""Flow: extract, fit, gate, log, promote, recompute, snapshot. `bkt retrain` runs this flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_settings.pipeline import load_settings
from datasets.sequences.warm_up import compile_row_kernels
from datasets.store.runs.run_lock import run_lock
from flows.candidates import fit_candidates, with_candidates
from flows.extract_attempts import extract_attempts
from flows.fit_concepts import fit_concepts
from flows.lifecycle.begin import plan_night, require_engine
from flows.lifecycle.close import close_run
from flows.lifecycle.deployed import deployed, ended, quiet_subflows
from flows.lifecycle.record import close_dead_runs, recorded_early_failure, recorded_failure
from flows.lifecycle.stages import NOTHING_PROMOTED, NOTHING_RECOMPUTED
from flows.promote_params import promote_params
from flows.recompute_states import recompute_states
from flows.runs.database import open_database
from flows.runs.log import run_log
from flows.runs.requests import RetrainRequest
from flows.runs.summary import RunSummary, Stopwatch
from flows.shards.dask_cluster import require_same_versions

if TYPE_CHECKING:
    from flows.lifecycle.stages import Fitted


@deployed("nightly")
def nightly(request: RetrainRequest | None = None) -> RunSummary:
    """Extract, fit, gate, log, promote, recompute, snapshot."""
    settings, request, watch = load_settings(), request or RetrainRequest(), Stopwatch()
    request.check()
    with (
        quiet_subflows(),
        run_log(settings, "retrain", request) as log,
        open_database(settings) as engine,
        run_lock(engine, holder="bkt retrain") as lock,
    ):
        require_same_versions(settings)
        require_engine(settings, request)
        with watch.stage("compile"):
            compile_row_kernels()
        with watch.stage("extract"), recorded_early_failure(engine, "retrain", request):
            extract = extract_attempts(settings, full=request.full)
        lock.check()
        plan = plan_night(engine, settings, request, extract)
        log.named(plan.run_id, plan.run_dir)
        if not plan.dry_run:
            close_dead_runs(engine, settings, keep=plan.run_id)
        with recorded_failure(engine, settings, plan):
            fitted: Fitted = fit_concepts(settings, plan).unquote()
            promoted, recomputed = NOTHING_PROMOTED, NOTHING_RECOMPUTED
            if fitted.has_news and not plan.dry_run:
                with watch.stage("promote"):
                    promoted = promote_params(settings, plan, lock.check)
            if not plan.dry_run:  # an unchanged run also repairs what a killed one left
                recomputed = recompute_states(
                    settings, plan, lock.check, snapshot=fitted.has_news
                )
            lock.check()
            summary = close_run(engine, settings, plan, fitted, promoted, recomputed, watch)
        if not (plan.dry_run or fitted.is_empty):
            beside = list(fit_candidates(engine, settings, request, plan, lock.check))
            summary = with_candidates(summary, beside)
        return ended(summary)

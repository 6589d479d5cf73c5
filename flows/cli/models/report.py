"""`bkt report`: show what a run did and why, compare two runs, log evidence later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_core.errors import UsageError
from bkt_settings.pipeline import load_settings
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.evidence.evidence import read_evidence
from flows.reports.comparison import compare_runs, show_comparison
from flows.reports.terminal import report_json, show_report
from flows.runs.database import open_database
from flows.runs.folders import run_folder
from flows.tracking.store import TrackingUnavailableError

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings


def report(
    run: str | None = None,
    /,
    *,
    compare: Annotated[tuple[str, str] | None, Parameter(negative="")] = None,
    relog: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Show what a run did and why, in the terminal; its folder has the page `report.html`.

    Parameters
    ----------
    run
        A run's id or the beginning of it; the newest run if omitted.
    compare
        Two runs to compare.
    relog
        Log this run's evidence to MLflow, if that failed during the run.

    """
    settings = load_settings()
    if sum(given is not None for given in (run, compare, relog)) > 1:
        raise UsageError("Give one of RUN, --compare A B and --relog RUN, got several.")
    if compare is not None:
        return _compare(settings, compare, output)
    if relog is not None:
        return _relog(settings, relog, output)
    folder = run_folder(settings, run)
    evidence = read_evidence(folder)
    output.give(report_json(evidence), lambda console: show_report(console, evidence))
    if not output.json:
        output.give({}, lambda console: console.print(f"As a page: {folder / 'report.html'}"))
    return 0


def _compare(settings: Settings, runs: tuple[str, str], output: Output) -> int:
    first, second = (run_folder(settings, run) for run in runs)
    comparison = compare_runs(read_evidence(first), read_evidence(second))
    from flows.reports.comparison_page import write_comparison  # imports Matplotlib

    page = write_comparison(second / f"compared-with-{first.name[:12]}.html", comparison)
    output.give(comparison.as_json(), lambda console: show_comparison(console, comparison))
    if not output.json:
        output.give({}, lambda console: console.print(f"As a page: {page}"))
    return 0


def _relog(settings: Settings, run: str, output: Output) -> int:
    from flows.tracking.client import log_retrain
    from flows.tracking.evidence_log import update_champion_alias

    folder = run_folder(settings, run)
    mlflow_run_id = log_retrain(
        settings.tracking_uri,
        settings.mlflow_experiment,
        settings.artifact_root,
        read_evidence(folder),
        folder,
    )
    with open_database(settings) as engine:
        problem = update_champion_alias(engine, settings, mlflow_run_id=mlflow_run_id)
    message = " ".join(filter(None, (f"Delivered as MLflow run {mlflow_run_id}.", problem)))
    output.give(
        {"run_id": folder.name, "mlflow_run_id": mlflow_run_id, "problem": problem},
        lambda console: console.print(message, markup=False),
    )
    return TrackingUnavailableError.exit_code if problem else 0

"""`bkt backfill params`: fit past days for comparison."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from bkt_core.errors import UsageError
from bkt_settings.pipeline import EngineName, load_settings
from flows.actions.backfill_snapshots import refuse_future
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.cli.run_table import open_mlflow
from flows.cli.usage import usage_errors
from flows.deployment.home import settle_prefect
from flows.deployment.own_server import own_server
from flows.health.kernels import announce_compilation
from flows.runs.backfill_plan import days_to_fit
from flows.runs.requests import BackfillParamsRequest

if TYPE_CHECKING:
    from rich.console import Console

    from bkt_settings.pipeline import Settings
    from flows.backfill_params import BackfillSummary

Flag = Annotated[bool, Parameter(negative="")]
_DAYS_OF = {"d": 1, "w": 7}


def backfill_params(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    step: str = "7d",
    as_known: Flag = False,
    concept: Annotated[tuple[str, ...], Parameter(name="--concept", negative="")] = (),
    engine: EngineName | None = None,
    seed: int | None = None,
    promote: Flag = False,
    algo: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Fit the attempts known at the end of each of several past days, as runs to compare.

    Nothing is promoted unless requested. A backfill that was killed resumes where it stopped
    when the same command is given again.

    Parameters
    ----------
    from_
        The first day, such as 2026-01-31; a day ends at midnight UTC.
    to
        The last day.
    step
        Interval between two fits in days or weeks, such as 7d or 2w; at most 20 fits.
    as_known
        Use what had been stored by then; by default what had been attempted by then.
    concept
        Only this concept; may be repeated.
    engine
        The engine that fits.
    seed
        Another seed of the folds.
    promote
        Promote the winners of the last day, as `bkt retrain` would.
    algo
        The algorithm version whose bounds and rules apply, such as v2; the active by default.
    """
    with usage_errors():
        request = BackfillParamsRequest(
            first_day=from_,
            last_day=to,
            step_days=days_of_step(step),
            as_known=as_known,
            concepts=concept,
            engine=engine,
            seed=seed,
            promote=promote,
            algo=algo,
        )
    request.check()
    refuse_future(request)
    days_to_fit(request)
    settings = load_settings()
    settle_prefect(settings, debug=output.debug)
    from flows.backfill_params import backfill_params as walk_forward

    announce_compilation()
    with own_server():
        summary = walk_forward(request)
    output.give(summary.as_json(), lambda console: _show(console, settings, summary))
    return summary.exit_code


def days_of_step(step: str) -> int:
    """Return the number of days in a step such as `7d` or `2w`."""
    found = re.fullmatch(r"([1-9]\d{0,3})([dw])", step)
    if found is None:
        raise UsageError(f"--step takes days or weeks, such as 7d or 2w, got {step!r}.")
    return int(found[1]) * _DAYS_OF[found[2]]


def _show(console: Console, settings: Settings, summary: BackfillSummary) -> None:
    resumed = ", resumed where it had stopped" if summary.resumed else ""
    console.print(f"Run {summary.run_id[:12]}: {summary.name}{resumed}")
    table = Table("until the end of", box=None, header_style="bold")
    for name in ("attempts", "concepts", "fitted", "would win", "AUC", "log loss", "run"):
        table.add_column(name, justify="right")
    for step in summary.steps:
        concepts, metrics = step.summary.concepts, step.summary.metrics
        table.add_row(
            step.day.isoformat(),
            f"{metrics['n'] or 0:,}",
            f"{concepts.seen}",
            f"{concepts.fitted}",
            f"{concepts.promoted}",
            "" if metrics["auc"] is None else f"{metrics['auc']:.4f}",
            "" if metrics["log_loss"] is None else f"{metrics['log_loss']:.4f}",
            step.summary.run_id[:12],
        )
    console.print(table)
    for remark in summary.remarks:
        console.print(f"  {remark}", markup=False)
    if summary.promoted:
        console.print(
            f"  {summary.promoted} concepts promoted, {summary.states:,} states replayed."
        )
    if summary.mlflow_run_id is not None:
        console.print(f"  MLflow    {open_mlflow(settings)}", markup=False)

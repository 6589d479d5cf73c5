"""`bkt algo compare`: compare two algorithm versions on the same held-out users."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import load_settings
from flows.cli.models.training import ALL, FitFlags
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.cli.usage import usage_errors
from flows.deployment.home import settle_prefect
from flows.deployment.own_server import own_server
from flows.health.kernels import announce_compilation
from flows.runs.requests import CompareRequest

if TYPE_CHECKING:
    from rich.console import Console

    from flows.compare_versions import Compared


def compare(
    a: str,
    b: str,
    /,
    *,
    asked: FitFlags = ALL,
    in_force: Annotated[bool, Parameter(negative="")] = False,
    users: Path | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Compare two versions on the same held-out users, paired by user; changes nothing.

    Parameters
    ----------
    a
        The version to compare with, such as the one in force.
    b
        The version that may replace it.
    in_force
        Compare the stored parameters of each version instead of new fits.
    users
        Write the users who would cross the threshold, with the concepts, to this CSV file.
    """
    with usage_errors():
        request = CompareRequest(**asdict(asked), a=a, b=b, in_force=in_force)
    request.check()
    settle_prefect(load_settings(), debug=output.debug)
    from flows.compare_versions import compare_versions

    announce_compilation()
    with own_server():
        done = compare_versions(request)
    if users is not None:
        done.comparison.crossings.write_csv(users)
    output.give(done.as_json(), lambda console: _show(console, done, users))
    return done.exit_code


def _show(console: Console, done: Compared, users: Path | None) -> None:
    from flows.reports.versions import show_versions

    show_versions(console, done.comparison)
    console.print(f"  page      {done.page}", markup=False)
    if users is not None:
        console.print(f"  users     {users}", markup=False)
    if done.mlflow_run_id is not None:
        console.print(f"  MLflow    run {done.mlflow_run_id}", markup=False)
    if done.problem:
        console.print(f"note: {done.problem}", markup=False)

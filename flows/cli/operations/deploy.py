"""`bkt deploy`: create the deployments and what they need on the Prefect server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bkt_core.errors import UsageError
from bkt_settings.pipeline import load_settings
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.deployment.home import stay_offline

if TYPE_CHECKING:
    from rich.console import Console

    from flows.deployment.deploy import Report


def deploy(*, output: Output = DEFAULT_OUTPUT) -> int:
    """Create or update pool, queue, deployments and automations on the server."""
    settings = load_settings()
    if "PREFECT_API_URL" not in os.environ:
        raise UsageError(
            "PREFECT_API_URL must name the server to deploy to, such as "
            "http://127.0.0.1:4200/api, but it is not set."
        )
    stay_offline()
    from flows.deployment.deploy import set_up

    report = set_up(settings)
    payload = {"changes": report.changes, "done": report.done, "left": report.left}
    output.give(payload, lambda console: _show(console, report))
    return 0


def _show(console: Console, report: Report) -> None:
    table = Table(box=None, show_header=False)
    for name, what in report.done.items():
        table.add_row(Text(name), Text(what))
    console.print(table)
    for name in report.left:
        console.print(
            f"{name} is on the server and not in prefect.yaml; "
            f"`prefect deployment delete {name}` removes it."
        )
    console.print(
        f"{report.changes} changes."
        if report.changes
        else "Nothing to change: the server has what prefect.yaml says."
    )
    console.print("To execute runs, start a worker: prefect worker start --pool bkt")

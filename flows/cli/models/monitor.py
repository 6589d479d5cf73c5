"""`bkt monitor`: check whether parameters in force still predict as well as when fitted."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bkt_settings.pipeline import load_settings
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.deployment.home import settle_prefect
from flows.deployment.own_server import own_server
from flows.health.kernels import announce_compilation
from flows.tracking.store import TrackingUnavailableError

if TYPE_CHECKING:
    from rich.console import Console

    from flows.evidence.drift import Monitored


def monitor(*, output: Output = DEFAULT_OUTPUT) -> int:
    """Score the parameters in force on attempts after the data of their fit."""
    settle_prefect(load_settings(), debug=output.debug)
    from flows.monitor_params import monitor as monitor_flow

    announce_compilation()
    with own_server():
        found = monitor_flow()
    payload = found.as_json() | {"retrain": retrain_command(found)}
    output.give(payload, lambda console: show_monitored(console, found))
    return TrackingUnavailableError.exit_code if found.problem else 0


def retrain_command(found: Monitored) -> str | None:
    """Return the `bkt retrain` command for the drifted concepts; None if none drifted."""
    if not found.drifted:
        return None
    words = ["bkt", "retrain", "--full"]
    words += [f"--concept={one.concept_id}" for one in found.drifted]
    return shlex.join(words)


def show_monitored(console: Console, found: Monitored) -> None:
    """Print the drifted concepts and the command that fits them again."""
    console.print(
        f"{found.scored} concepts scored on attempts after their fit, "
        f"{found.waiting} not scored; {len(found.drifted)} drifted."
    )
    if found.drifted:
        table = Table("concept", box=None, header_style="bold")
        for name in ("attempts", "users", "log loss", "expected", "right - predicted", "q"):
            table.add_column(name, justify="right")
        for one in found.drifted:
            table.add_row(
                Text(one.concept_id),
                f"{one.n_attempts:,}",
                f"{one.n_users:,}",
                f"{one.log_loss:.4f}",
                f"{one.expected_log_loss:.4f}",
                f"{one.bias:+.3f}",
                f"{one.adjusted_p:.2g}",
            )
        console.print(table)
        console.print(Text(f"To fit them again: {retrain_command(found)}"))
    console.print(Text(f"The complete table: {found.table}"))
    if found.problem:
        console.print(Text(f"note: {found.problem}"))

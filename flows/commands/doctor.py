"""`bkt doctor`: what is wrong here, and its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flows.commands.output import DEFAULT_OUTPUT, Output
from flows.doctor import Verdict, examine
from flows.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from flows.doctor import Finding

_LOOKS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(*, output: Output = DEFAULT_OUTPUT) -> int:
    """Examine this installation; exit 1 where something would break a run."""
    findings = examine(load_settings(), debug=output.debug)
    n_failed = sum(finding.verdict is Verdict.FAIL for finding in findings)
    payload = {"ok": not n_failed, "checks": [finding.as_json() for finding in findings]}
    output.give(payload, lambda console: show_findings(console, findings))
    return 1 if n_failed else 0


def show_findings(console: Console, findings: list[Finding]) -> None:
    """Each finding in a line or two, the remedy below it, and the sum."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        look = _LOOKS[finding.verdict]
        table.add_row(Text(finding.verdict.value, style=look), finding.name, Text(finding.told))
        if finding.remedy is not None:
            table.add_row("", "", Text(f"→ {finding.remedy}", style=look))
    console.print(table)
    counts = {v: sum(f.verdict is v for f in findings) for v in Verdict}
    console.print()
    console.print(
        Text(
            f"{counts[Verdict.OK]} sound, {counts[Verdict.WARN]} that production would have "
            f"otherwise, {counts[Verdict.FAIL]} to mend."
        )
    )

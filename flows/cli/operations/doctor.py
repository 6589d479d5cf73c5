"""`bkt doctor`: show problems of this installation and their remedies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from bkt_settings.pipeline import load_settings
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.health.doctor import examine
from flows.health.findings import Level

if TYPE_CHECKING:
    from rich.console import Console

    from flows.health.findings import Finding

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(
    *,
    check: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Check this installation; exit 1 if something would break a run.

    Parameters
    ----------
    check
        Only this check, for a probe; may be repeated.
    """
    findings = examine(load_settings(), only=check, debug=output.debug)
    n_failed = sum(finding.level is Level.FAIL for finding in findings)
    payload = {"ok": not n_failed, "checks": [finding.as_json() for finding in findings]}
    output.give(payload, lambda console: show_findings(console, findings))
    return 1 if n_failed else 0


def show_findings(console: Console, findings: list[Finding]) -> None:
    """Print each finding with its remedy, then the counts by level."""
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        style = _STYLES[finding.level]
        line = Text.assemble(
            (f"{finding.level.value:<6}", style),
            (f"{finding.name:<{width}}  ", "bold"),
            finding.message,
        )
        console.print(line, soft_wrap=True)
        if finding.remedy is not None:
            indent = " " * (8 + width)
            console.print(Text(f"{indent}→ {finding.remedy}", style=style), soft_wrap=True)
    counts = {v: sum(f.level is v for f in findings) for v in Level}
    console.print()
    console.print(
        Text(
            f"{counts[Level.OK]} ok, {counts[Level.WARN]} not as production should be, "
            f"{counts[Level.FAIL]} to fix."
        )
    )

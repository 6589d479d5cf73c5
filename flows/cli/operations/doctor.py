"""`bkt doctor`: what is wrong here, and its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from bkt_settings.pipeline import load_settings
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.health.doctor import Verdict, examine

if TYPE_CHECKING:
    from rich.console import Console

    from flows.health.doctor import Finding

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
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        look = _LOOKS[finding.verdict]
        line = Text.assemble(
            (f"{finding.verdict.value:<6}", look),
            (f"{finding.name:<{width}}  ", "bold"),
            finding.told,
        )
        console.print(line, soft_wrap=True)
        if finding.remedy is not None:
            indent = " " * (8 + width)
            console.print(Text(f"{indent}→ {finding.remedy}", style=look), soft_wrap=True)
    counts = {v: sum(f.verdict is v for f in findings) for v in Verdict}
    console.print()
    console.print(
        Text(
            f"{counts[Verdict.OK]} sound, {counts[Verdict.WARN]} that production would have "
            f"otherwise, {counts[Verdict.FAIL]} to mend."
        )
    )

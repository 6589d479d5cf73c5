"""`bkt algo activate`: put another algorithm version in force."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import load_settings
from flows.actions.activate import activate as activate_version
from flows.actions.activate import plan_activation
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.versions.report import verdict_sentence

if TYPE_CHECKING:
    from rich.console import Console

    from flows.actions.activate import ActivationPlan, ActivationReport

#: Exit code if the command is done but MLflow could not be updated.
EXIT_NOT_LOGGED = 6
#: Most concepts named in the terminal.
NAMED = 5


def activate(
    version: str,
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    approve: Annotated[bool, Parameter(negative="")] = False,
    actor: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Put a version in force and recompute every state. To go back, use the same command.

    Parameters
    ----------
    version
        Its name, as in `bkt algo list`.
    dry_run
        Show what would happen; change nothing.
    approve
        Activate it whatever the evidence says; without this a version that is shown to be
        worse, or that moves too many users across the threshold, is refused with exit code 3.
    actor
        Who requests it, for `bkt params --history`; by default the account that runs this.
    """
    settings = load_settings()
    if dry_run:
        plan = plan_activation(settings, version)
        payload = plan.as_json() | {"dry_run": True}
        output.give(payload, lambda console: _show_plan(console, plan))
        return 0
    report = activate_version(settings, version, approve=approve, actor=actor)
    output.give(asdict(report), lambda console: _show_report(console, report))
    return EXIT_NOT_LOGGED if report.problem else 0


def _show_plan(console: Console, plan: ActivationPlan) -> None:
    if plan.before == plan.after:
        console.print(f"Version {plan.after} is in force already.")
        return
    moved = plan.impact
    console.print(f"{plan.before} → {plan.after}")
    lost = len(plan.to_defaults)
    named = ", ".join(plan.to_defaults[:NAMED]) + (", …" if lost > NAMED else "")
    console.print(
        f"concepts: {plan.concepts_fitted:,} fitted under {plan.before}; {lost:,} of them fall "
        f"to the defaults of {plan.after}" + (f": {named}." if lost else ".")
    )
    console.print(
        f"states: {moved.states:,}; {moved.mastered_before:,} mastered now, {moved.up:,} would "
        f"gain mastery, {moved.down:,} would lose it; mastery moves by {moved.mean_move:.4f} "
        "on average."
    )
    console.print(
        f"users: {moved.users_crossing:,} of {moved.users:,} ({moved.share:.1%}) would cross "
        "the threshold at some concept."
    )
    evidence = "" if plan.evidence is None else verdict_sentence(plan.evidence)
    if evidence and evidence not in plan.objections:
        console.print(f"evidence: {evidence}")
    for objection in plan.objections:
        console.print(f"to be approved: {objection}")


def _show_report(console: Console, report: ActivationReport) -> None:
    if report.run_id is None:
        console.print(f"Version {report.after} is in force already; nothing was changed.")
        return
    console.print(
        f"Version {report.after} is in force: {report.states:,} states replayed, "
        f"{report.snapshots:,} snapshot rows (run {report.run_id})."
    )
    if report.to_defaults:
        console.print(
            f"{report.to_defaults:,} concepts that were fitted under {report.before} have the "
            f"defaults of {report.after} now."
        )
    if report.page:
        console.print(f"  page      {report.page}", markup=False)
    if report.problem:
        console.print(f"note: {report.problem}")

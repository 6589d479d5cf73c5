"""`bkt rollback`: put older parameters in force again, or release a pin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import load_settings
from flows.actions.roll_back import release_concepts, roll_back_concepts, roll_back_run
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.requests import RollbackRequest

if TYPE_CHECKING:
    from rich.console import Console

    from flows.actions.roll_back import RollbackReport

#: Exit code if the command is done but MLflow could not be updated.
EXIT_NOT_LOGGED = 6


def rollback(
    *,
    concept: Annotated[tuple[str, ...], Parameter(name="--concept", negative="")] = (),
    run: str | None = None,
    to: str | None = None,
    release: Annotated[bool, Parameter(negative="")] = False,
    actor: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Put older parameters in force again, and pin the concept until it is released.

    Parameters
    ----------
    concept
        The concept; may be repeated.
    run
        Every concept whose parameters in force are from this run.
    to
        A row's id (`bkt params --history CONCEPT`), or `default`; the row before if omitted.
    release
        Remove the pin instead, so that the next run may promote the concept again.
    actor
        Who requests it, for `bkt params --history`; by default the account that runs this.
    """
    RollbackRequest.model_construct(concepts=concept, run=run, to=to, release=release).check()
    settings = load_settings()
    if release:
        run_id = release_concepts(settings, concept, actor=actor)
        output.give(
            {"run_id": run_id, "released": list(concept)},
            lambda console: console.print(f"Released: {', '.join(concept)}."),
        )
        return 0
    report = (
        roll_back_run(settings, run, actor=actor)
        if run is not None
        else roll_back_concepts(settings, concept, to=to, actor=actor)
    )
    payload = {
        "run_id": report.run_id,
        "rolled_back": [
            {
                "concept_id": one.concept_id,
                "from_param_id": one.from_param_id,
                "to_param_id": one.to_param_id,
            }
            for one in report.rolled_back
        ],
        "left": list(report.left),
        "states": report.states,
        "remarks": [report.problem] if report.problem else [],
    }
    output.give(payload, lambda console: _show_rollback(console, report))
    return EXIT_NOT_LOGGED if report.problem else 0


def _show_rollback(console: Console, report: RollbackReport) -> None:
    for one in report.rolled_back:
        was, now = (
            "the defaults" if row is None else f"row {row}"
            for row in (one.from_param_id, one.to_param_id)
        )
        console.print(f"{one.concept_id}: {was} → {now}, pinned", markup=False)
    for concept, row in report.left.items():
        now = "the defaults are" if row is None else f"row {row} is"
        console.print(f"{concept}: unchanged, {now} in force by now", markup=False)
    console.print(f"{report.states:,} states replayed.")
    if report.problem:
        console.print(f"note: {report.problem}", markup=False)

"""`bkt recompute`: replay mastery from the attempt log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import load_settings
from flows.actions.recompute import recompute as recompute_states
from flows.cli.output import DEFAULT_OUTPUT, Output

if TYPE_CHECKING:
    pass


def recompute(
    *,
    concept: Annotated[tuple[str, ...], Parameter(name="--concept", negative="")] = (),
    user: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Replay mastery from the attempt log: all states, or those that are named.

    Parameters
    ----------
    concept
        Only this concept; may be repeated.
    user
        Only this user.
    """
    done = recompute_states(load_settings(), concepts=concept, user=user)
    output.give(
        asdict(done),
        lambda console: console.print(f"{done.states:,} states replayed from the log."),
    )
    return 0

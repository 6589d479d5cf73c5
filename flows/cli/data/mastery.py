"""`bkt mastery`: show one user's mastery of every attempted concept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.states.reads import read_mastery
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database

if TYPE_CHECKING:
    from rich.console import Console


def mastery(user: str, /, *, output: Output = DEFAULT_OUTPUT) -> int:
    """Show one user's mastery of every concept they attempted.

    Parameters
    ----------
    user
        The user's id.

    """
    with open_database(load_settings()) as engine, reading(engine) as conn:
        algorithm = active_algorithm(conn)
        threshold = algorithm.params.mastery_threshold
        rows = [
            {
                "concept_id": state.concept_id,
                "p_mastery": state.p_mastery,
                "is_mastered": state.p_mastery >= threshold,
                "n_attempts": state.n_attempts,
                "last_attempt_at": (
                    None if state.last_attempt_at is None else state.last_attempt_at.isoformat()
                ),
                "param_id": state.param_id,
            }
            for state in read_mastery(conn, user)
        ]
    payload = {
        "user_id": user,
        "algo_version": algorithm.version,
        "mastery_threshold": threshold,
        "states": rows,
    }
    output.give(payload, lambda console: _show_mastery(console, payload))
    return 0


def _show_mastery(console: Console, payload: dict[str, Any]) -> None:
    if not payload["states"]:
        console.print(f"User {payload['user_id']!r} has no attempts.", markup=False)
        return
    table = Table("concept", box=None, header_style="bold")
    for name in ("mastery", "attempts"):
        table.add_column(name, justify="right")
    table.add_column("last attempt")
    for state in payload["states"]:
        mark = " mastered" if state["is_mastered"] else ""
        table.add_row(
            state["concept_id"],
            f"{state['p_mastery']:.4f}",
            f"{state['n_attempts']:,}",
            f"{(state['last_attempt_at'] or '')[:19]}{mark}",
        )
    console.print(table)
    console.print(
        f"A concept is mastered from {payload['mastery_threshold']:g} on, under version "
        f"{payload['algo_version']}."
    )

"""`bkt params`: show the parameters in force, or every decision on one concept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from bkt_core.family.params import names_among
from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.algorithms import algorithm as algorithm_named
from datasets.store.params.events import history
from datasets.store.params.skill_params import active_params
from datasets.store.params.versions import list_versions
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database
from flows.runs.known_concepts import refuse_unknown_concepts

if TYPE_CHECKING:
    from rich.console import Console


def params(
    *,
    history_of: Annotated[str | None, Parameter(name="--history")] = None,
    algo: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Show the parameters in force, or every decision on one concept.

    Parameters
    ----------
    history_of
        Show who decided what on this concept, when, from what to what, and why.
    algo
        Show what this version has, such as v2, instead of what is in force.
    """
    with open_database(load_settings()) as engine, reading(engine) as conn:
        if history_of is not None:
            refuse_unknown_concepts(conn, "--history", [history_of])
            names = {one.id: one.version for one in list_versions(conn)}
            events = [
                {"algo_version": names[event.algo_version_id]} | _event_row(event)
                for event in history(conn, history_of)
                if algo is None or names[event.algo_version_id] == algo
            ]
            output.give({"events": events}, lambda console: _show_events(console, events))
            return 0
        in_force = active_algorithm(conn)
        algorithm = in_force if algo is None else algorithm_named(conn, algo)
        rows = [
            {"concept_id": concept_id}
            | stored.params.as_dict()
            | {
                "param_id": stored.param_id,
                "run_id": stored.run_id,
                "fitted_at": stored.fitted_at.isoformat(),
            }
            for concept_id, stored in active_params(conn, algorithm.id).items()
        ]
    defaults = algorithm.params.defaults.as_dict()
    payload = {
        "algo_version": algorithm.version,
        "in_force": algorithm.id == in_force.id,
        "defaults": defaults,
        "params": rows,
    }
    output.give(payload, lambda console: _show_params(console, payload))
    return 0


def _event_row(event: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of the event table
    return {
        "at": event.created_at.isoformat(),
        "decision": event.decision,
        "actor": event.actor,
        "run_id": event.run_id,
        "from_param_id": event.from_param_id,
        "to_param_id": event.to_param_id,
        "reasons": event.reasons,
    }


def _show_params(console: Console, payload: dict[str, Any]) -> None:
    table = Table("concept", box=None, header_style="bold")
    names = names_among(*payload["params"], payload["defaults"])
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("row", justify="right")
    table.add_column("fitted at")
    for row in payload["params"]:
        table.add_row(
            row["concept_id"],
            *(f"{row[name]:.4f}" if name in row else "" for name in names),
            str(row["param_id"]),
            row["fitted_at"][:19],
        )
    console.print(table)
    defaults = ", ".join(f"{name} {value:g}" for name, value in payload["defaults"].items())
    version = payload["algo_version"] + ("" if payload["in_force"] else ", not in force")
    console.print(
        f"{len(payload['params'])} concepts with fitted parameters "
        f"(version {version}); all others: {defaults}."
    )


def _show_events(console: Console, events: list[dict[str, Any]]) -> None:
    table = Table("when", "version", "decision", "from", "to", "who", "run", "why", box=None)
    for event in events:
        table.add_row(
            event["at"][:19],
            event["algo_version"],
            str(event["decision"]),
            str(event["from_param_id"] or "defaults"),
            str(event["to_param_id"] or "defaults"),
            event["actor"],
            event["run_id"] or "",
            " ".join(_reason_text(reason) for reason in event["reasons"]),
        )
    console.print(table if events else "There is no decision on this concept.")


def _reason_text(reason: Any) -> str:  # noqa: ANN401 - JSON of the event table
    """Return a reason as text for people."""
    if isinstance(reason, dict):
        return str(reason.get("sentence") or ", ".join(f"{k} {v}" for k, v in reason.items()))
    return str(reason)

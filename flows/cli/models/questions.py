"""`bkt questions`: the hardest and easiest questions of a concept, and those out of line."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table

from bkt_core.errors import BadInputError
from bkt_core.family.fit import FamilyFit
from bkt_core.judgement.questions import questions_of
from bkt_settings.pipeline import load_settings
from datasets.fit_files import read_fit
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.algorithms import algorithm as algorithm_named
from datasets.store.params.question_params import questions_of_row
from datasets.store.params.rollback import row_before
from datasets.store.params.skill_params import active_params
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database
from flows.runs.known_concepts import refuse_unknown_concepts

if TYPE_CHECKING:
    from rich.console import Console

    from bkt_core.judgement.questions import Question
    from bkt_settings.pipeline import Settings
    from datasets.store.params.skill_params import StoredParams


def questions(
    concept: str,
    /,
    *,
    algo: str | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Show the hardest and easiest questions of a concept, and those out of line.

    A question's odds multiply the odds of a right answer; 1 is the middle of its concept. One
    that is out of line with the others may have a wrong key, or practise something else.

    Parameters
    ----------
    concept
        The concept.
    algo
        Take the row of this version, such as v4, instead of the one in force.
    limit
        Number of hardest and of easiest questions to show; `--json` has all.
    """
    settings = load_settings()
    with open_database(settings) as engine, reading(engine) as conn:
        refuse_unknown_concepts(conn, "CONCEPT", [concept])
        version = active_algorithm(conn) if algo is None else algorithm_named(conn, algo)
        if not version.params.variant.questions:
            raise BadInputError(
                f"Expected a version with questions, such as v4, got {version.version}; "
                "`bkt algo list` shows what versions there are, --algo takes one."
            )
        row = active_params(conn, version.id).get(concept)
        if row is None:
            raise BadInputError(
                f"Concept {concept!r} has no fitted parameters under {version.version}, and "
                "so no odds of questions; `bkt retrain` fits it."
            )
        stored = questions_of_row(conn, row.param_id)
        earlier = row_before(conn, row.param_id)
        before = {} if earlier is None else questions_of_row(conn, earlier)
    found = questions_of(
        {name: one.odds for name, one in stored.items()},
        n_attempts={name: one.n_attempts for name, one in stored.items()},
        errors=_errors(settings, row),
        before={name: one.odds for name, one in before.items()},
    )
    payload = {
        "concept_id": concept,
        "algo_version": version.version,
        "param_id": row.param_id,
        "questions": [asdict(one) for one in found],
    }
    output.give(payload, lambda console: _show(console, payload, found, limit))
    return 0


def _errors(settings: Settings, row: StoredParams) -> dict[str, float]:
    """Return standard errors of log odds from the file of the fit; empty if it is gone."""
    fit = read_fit(settings.data_dir / "fits", str(row.metrics.get("fit_key")))
    final = None if fit is None or fit.evidence is None else fit.evidence.final
    if not isinstance(final, FamilyFit):
        return {}
    rows = zip(final.question_ids, final.question_errors, strict=False)
    return {name: error for name, error in rows if name is not None}


def _show(console: Console, payload: dict[str, Any], found: list[Question], limit: int) -> None:
    n = len(found)
    console.print(
        f"{payload['concept_id']}: {n} questions under {payload['algo_version']} "
        f"(row {payload['param_id']})"
    )
    hardest, easiest = found[:limit], found[max(limit, n - limit) :][::-1]
    for title, rows in (("hardest", hardest), ("easiest", easiest)):
        if rows:
            console.print(_table(title, rows))
    named = [one.question_id for one in found if one.out_of_line]
    if named:
        more = ", …" if len(named) > limit else ""
        console.print(f"Out of line with the others: {', '.join(named[:limit])}{more}.")


def _table(title: str, rows: list[Question]) -> Table:
    table = Table(title, box=None, header_style="bold")
    for name in ("odds", "95 %", "before", "attempts"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in rows:
        interval = "" if one.interval is None else "{:.2f} to {:.2f}".format(*one.interval)
        table.add_row(
            one.question_id,
            f"{one.odds:.3f}",
            interval,
            "" if one.before is None else f"{one.before:.3f}",
            f"{one.n_attempts:,}",
            "out of line" if one.out_of_line else "",
        )
    return table

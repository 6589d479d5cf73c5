"""`bkt retrain`, `bkt fit`, `bkt evaluate`: fit, judge, and score what is in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from datasets.attempt_columns import FileOptions
from datasets.file_layouts import Layout
from datasets.store.algorithms import active_algorithm
from datasets.store.attempts import concepts_of_questions
from datasets.store.session import reading
from datasets.store.skill_params import active_params
from flows.commands.asking import usage_errors
from flows.commands.attempts import column_mapping
from flows.commands.output import DEFAULT_OUTPUT, Output
from flows.commands.run_table import show_run
from flows.database import open_database
from flows.evaluate_params import evaluate_file
from flows.prefect_home import settle_prefect
from flows.requests import EngineName, FitRequest, RetrainRequest
from flows.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from bkt_core.evaluation.metrics import Scores
    from flows.summary import RunSummary

Concepts = Annotated[tuple[str, ...], Parameter(name="--concept", negative="")]
Flag = Annotated[bool, Parameter(negative="")]


def retrain(
    *,
    since: str | None = None,
    until: str | None = None,
    concept: Concepts = (),
    engine: EngineName | None = None,
    seed: int | None = None,
    approve: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    full: Flag = False,
    dry_run: Flag = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Run the night: extract, fit, gate, log, promote, recompute, snapshot.

    Parameters
    ----------
    since
        Train on attempts from this day or moment on.
    until
        Train on attempts before this day or moment.
    concept
        Only this concept; may be repeated.
    engine
        How to fit.
    seed
        Another seed of the folds.
    approve
        Let this concept through although many users would change sides; may be repeated.
    full
        Read everything again, and refit also what changed too little.
    dry_run
        Write neither the database nor MLflow.

    """
    with usage_errors():
        request = RetrainRequest(
            since=since,
            until=until,
            concepts=concept,
            engine=engine,
            seed=seed,
            approve=approve,
            full=full,
            dry_run=dry_run,
        )
    settle_prefect(load_settings(), debug=output.debug)
    from flows.nightly import nightly

    return _give(nightly(request), output)


def fit(
    *,
    since: str | None = None,
    until: str | None = None,
    concept: Concepts = (),
    engine: EngineName | None = None,
    seed: int | None = None,
    algo: str | None = None,
    full: Flag = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Fit, gate and log without promoting anything.

    Parameters
    ----------
    since
        Train on attempts from this day or moment on.
    until
        Train on attempts before this day or moment.
    concept
        Only this concept; may be repeated.
    engine
        How to fit.
    seed
        Another seed of the folds.
    algo
        The algorithm version whose bounds and rules apply, such as v2; the active one else.
    full
        Read everything again, and refit also what changed too little.

    """
    with usage_errors():
        request = FitRequest(
            since=since,
            until=until,
            concepts=concept,
            engine=engine,
            seed=seed,
            algo=algo,
            full=full,
        )
    settle_prefect(load_settings(), debug=output.debug)
    from flows.nightly import trial_fit

    return _give(trial_fit(request), output)


def evaluate(
    file: Path,
    /,
    *,
    layout: Layout = Layout.PLAIN,
    map_: Annotated[tuple[str, ...], Parameter(name="--map", negative="")] = (),
    time_zone: str | None = None,
    concept_delimiter: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Score the active parameters on attempts that are not in the database.

    Parameters
    ----------
    file
        The attempt log; its users start from nothing.
    layout
        A ready-made mapping of columns.
    map_
        `column=name`, once per column that the file calls otherwise.
    time_zone
        The zone of timestamps that name none, such as Europe/Berlin.
    concept_delimiter
        What stands between several concepts of one attempt, such as ~~.

    """
    settings = load_settings()
    with open_database(settings) as engine, reading(engine) as conn:
        version = active_algorithm(conn)
        active = active_params(conn, version.id)
        mapping = concepts_of_questions(conn)
    scores = evaluate_file(
        file,
        FileOptions(
            layout=layout,
            column_map=column_mapping(map_),
            time_zone=time_zone,
            concept_delimiter=concept_delimiter,
        ),
        params={concept: stored.params for concept, stored in active.items()},
        defaults=version.params.defaults,
        concepts_of=mapping,
        latest=datetime.now(UTC) + timedelta(minutes=settings.imports.allowed_skew_minutes),
    )
    output.give(scores.as_json(), lambda console: _show_scores(console, file, scores))
    return 0


def _give(summary: RunSummary, output: Output) -> int:
    settings = load_settings()
    output.give(summary.as_json(), lambda console: show_run(console, settings, summary))
    return summary.exit_code


def _show_scores(console: Console, file: Path, scores: Scores) -> None:
    auc = "undefined" if scores.auc is None else f"{scores.auc:.4f}"
    console.print(
        f"{scores.n:,} attempts of {file}: AUC {auc}, RMSE {scores.rmse:.4f}, "
        f"log loss {scores.log_loss:.4f}, accuracy {scores.accuracy:.4f}"
    )

"""`bkt retrain`, `bkt fit`, `bkt evaluate`: fit, judge, and score what is in force."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import EngineName, load_settings
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import active_params
from flows.actions.evaluation import evaluate_file
from flows.cli.file_flags import DEFAULT_FILE_FLAGS, FileFlags
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.cli.run_table import show_run
from flows.cli.usage import usage_errors
from flows.deployment.home import settle_prefect
from flows.runs.database import open_database
from flows.runs.requests import FitRequest, RetrainRequest

if TYPE_CHECKING:
    from rich.console import Console

    from flows.actions.evaluation import FileScores
    from flows.runs.summary import RunSummary

Flag = Annotated[bool, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FitFlags:
    """Which attempts and concepts a fit is about, and how it is made; fields of `Request`."""

    since: str | None = None
    "Train on attempts from this day or moment on."
    until: str | None = None
    "Train on attempts before this day or moment."
    concepts: Annotated[tuple[str, ...], Parameter(name="--concept", negative="")] = ()
    "Only this concept; may be repeated."
    engine: EngineName | None = None
    "How to fit."
    seed: int | None = None
    "Another seed of the folds."
    full: Flag = False
    "Read everything again, and refit also what changed too little."


ALL = FitFlags()


def retrain(
    *,
    asked: FitFlags = ALL,
    approve: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dry_run: Flag = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Run the night: extract, fit, gate, log, promote, recompute, snapshot.

    Parameters
    ----------
    approve
        Let this concept through although many users would change sides; may be repeated.
    dry_run
        Write neither the database nor MLflow.
    """
    with usage_errors():
        request = RetrainRequest(**asdict(asked), approve=approve, dry_run=dry_run)
    request.check()
    settle_prefect(load_settings(), debug=output.debug)
    from flows.nightly import nightly

    return _give(nightly(request), output)


def fit(
    *, asked: FitFlags = ALL, algo: str | None = None, output: Output = DEFAULT_OUTPUT
) -> int:
    """Fit, gate and log without promoting anything.

    Parameters
    ----------
    algo
        The algorithm version whose bounds and rules apply, such as v2; the active one else.
    """
    with usage_errors():
        request = FitRequest(**asdict(asked), algo=algo)
    request.check()
    settle_prefect(load_settings(), debug=output.debug)
    from flows.trial_fit import trial_fit

    return _give(trial_fit(request), output)


def evaluate(
    file: Path,
    /,
    *,
    flags: FileFlags = DEFAULT_FILE_FLAGS,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Score the active parameters on attempts that are not in the database.

    Parameters
    ----------
    file
        The attempt log; its users start from nothing.
    """
    settings = load_settings()
    options = flags.import_options(settings.imports)
    with open_database(settings) as engine:
        rules = options.rules(engine, datetime.now(UTC))
        with reading(engine) as conn:
            version = active_algorithm(conn)
            active = active_params(conn, version.id)
    found = evaluate_file(
        file,
        options.file,
        rules,
        params={concept: stored.params for concept, stored in active.items()},
        defaults=version.params.defaults,
    )
    output.give(found.as_json(), lambda console: _show_scores(console, file, found))
    return 0


def _give(summary: RunSummary, output: Output) -> int:
    settings = load_settings()
    output.give(summary.as_json(), lambda console: show_run(console, settings, summary))
    return summary.exit_code


def _show_scores(console: Console, file: Path, found: FileScores) -> None:
    scores, rows = found.scores, found.rows
    auc = "undefined" if scores.auc is None else f"{scores.auc:.4f}"
    console.print(
        f"{scores.n:,} attempts of {file}: AUC {auc}, RMSE {scores.rmse:.4f}, "
        f"log loss {scores.log_loss:.4f}, accuracy {scores.accuracy:.4f}"
    )
    left_out = [("repeat an earlier row", rows.duplicates), *sorted(found.reasons.items())]
    told = ", ".join(f"{n:,} {why}" for why, n in left_out if n)
    if told:
        console.print(f"  of {rows.read:,} rows left out: {told}")
    if found.at_defaults:
        named = ", ".join(found.at_defaults[:5])
        more = ", …" if len(found.at_defaults) > 5 else ""
        console.print(
            f"  {len(found.at_defaults):,} concepts have no fitted parameters and were scored "
            f"under the defaults: {named}{more}"
        )

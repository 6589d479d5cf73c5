"""`bkt evaluate`: score the parameters in force on a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bkt_settings.pipeline import load_settings
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import active_params, with_question_odds
from flows.actions.evaluation import evaluate_file
from flows.cli.file_flags import DEFAULT_FILE_FLAGS, FileFlags
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database

if TYPE_CHECKING:
    from rich.console import Console

    from flows.actions.evaluation import FileScores


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
        The attempt log; its users start without a history.
    """
    settings = load_settings()
    options = flags.import_options(settings.imports)
    with open_database(settings) as engine:
        rules = options.rules(engine, datetime.now(UTC))
        with reading(engine) as conn:
            version = active_algorithm(conn)
            active = with_question_odds(conn, active_params(conn, version.id))
    found = evaluate_file(
        file,
        options.file,
        rules,
        params={concept: stored.params for concept, stored in active.items()},
        defaults=version.params.defaults,
    )
    output.give(found.as_json(), lambda console: _show_scores(console, file, found))
    return 0


def _show_scores(console: Console, file: Path, found: FileScores) -> None:
    scores, rows = found.scores, found.rows
    auc = "undefined" if scores.auc is None else f"{scores.auc:.4f}"
    console.print(
        f"{scores.n:,} attempts of {file}: AUC {auc}, RMSE {scores.rmse:.4f}, "
        f"log loss {scores.log_loss:.4f}, accuracy {scores.accuracy:.4f}"
    )
    left_out = [("repeat an earlier row", rows.duplicates), *sorted(found.reasons.items())]
    reasons = ", ".join(f"{n:,} {why}" for why, n in left_out if n)
    if reasons:
        console.print(f"  of {rows.read:,} rows left out: {reasons}")
    if found.at_defaults:
        named = ", ".join(found.at_defaults[:5])
        more = ", …" if len(found.at_defaults) > 5 else ""
        console.print(
            f"  {len(found.at_defaults):,} concepts have no fitted parameters and were scored "
            f"under the defaults: {named}{more}"
        )

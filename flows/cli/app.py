"""`bkt`: parse the command line, run one command, turn errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from cyclopts import App, CycloptsError
from rich.console import Console

from bkt_core.errors import BktError
from datasets.errors import storage_error

if TYPE_CHECKING:
    from types import FrameType

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
#: Exit code of a command ended by a signal: this plus the signal number, as in shells.
SIGNALLED = 128

_STAYS = "what was committed stays; run the command again to resume."

#: Each command: its name, its function, and its text in `bkt --help`.
_COMMANDS = (
    (
        "init",
        "flows.cli.operations.init:init",
        "Create or upgrade the schema and seed it; may be repeated.",
    ),
    (
        "import",
        "flows.cli.data.import_attempts:import_attempts",
        "Import attempt logs into the database; every row is accounted for.",
    ),
    (
        "export",
        "flows.cli.data.export:export",
        "Write attempts, states, snapshots, parameters or events to a file.",
    ),
    (
        "simulate",
        "flows.cli.data.simulate:simulate",
        "Write synthetic attempts with known parameters, as a file.",
    ),
    (
        "retrain",
        "flows.cli.models.training:retrain",
        "Retrain: extract, fit, gate, log, promote, recompute, snapshot.",
    ),
    ("fit", "flows.cli.models.training:fit", "Fit, gate and log without promoting anything."),
    (
        "evaluate",
        "flows.cli.models.evaluation:evaluate",
        "Score the parameters in force on attempts that are not in the database.",
    ),
    (
        "monitor",
        "flows.cli.models.monitor:monitor",
        "Score the parameters in force on attempts after their fit; report drifted concepts.",
    ),
    (
        "recompute",
        "flows.cli.operations.recompute:recompute",
        "Replay mastery from the attempt log.",
    ),
    (
        "stamp",
        "flows.cli.operations.stamp:stamp",
        "Give stamps to attempts of earlier releases: what was known of their users.",
    ),
    (
        "params",
        "flows.cli.models.params:params",
        "Show the parameters in force, or the history of a concept.",
    ),
    (
        "questions",
        "flows.cli.models.questions:questions",
        "Show the hardest and easiest questions of a concept.",
    ),
    ("mastery", "flows.cli.data.mastery:mastery", "Show one user's mastery."),
    (
        "rollback",
        "flows.cli.operations.rollback:rollback",
        "Put older parameters in force again and pin the concept.",
    ),
    ("erase", "flows.cli.data.erase:erase", "Erase a user, until --lift."),
    (
        "status",
        "flows.cli.operations.status:status",
        "Show the last runs, the parameters in force, outdated states, the next schedule.",
    ),
    (
        "doctor",
        "flows.cli.operations.doctor:doctor",
        "Check this installation; show problems and remedies.",
    ),
    (
        "prune",
        "flows.cli.operations.prune:prune",
        "Remove files and rows that are past their retention.",
    ),
    (
        "report",
        "flows.cli.models.report:report",
        "Show what a run did and why; compare two runs; log evidence to MLflow later.",
    ),
    (
        "deploy",
        "flows.cli.operations.deploy:deploy",
        "Create or update the deployments on the Prefect server and all they need.",
    ),
    ("serve", "flows.cli.operations.serve:serve", "Serve mastery over HTTP."),
)


def build_app() -> App:
    """Build the command line; the module of a command is imported when it is called."""
    app = App(
        name="bkt",
        help="Bayesian Knowledge Tracing in production: from attempt logs to mastery.",
        version=version("bkt-pipeline"),
        help_epilogue=(
            "Exit codes: 0 done · 1 error · 2 usage · 3 nothing promoted, or breaker or "
            "quarantine stopped the run · 4 some shards failed · 5 locked by another run · "
            "6 done, evidence not delivered to MLflow · 130 interrupted."
        ),
    )
    for name, target, help_text in _COMMANDS:
        app.command(target, name=name, help=help_text)
    backfill = App(name="backfill", help="Rebuild the results of past days.")
    backfill.command(
        "flows.cli.operations.backfill_snapshots:backfill_snapshots", name="snapshots"
    )
    backfill.command("flows.cli.operations.backfill_params:backfill_params", name="params")
    app.command(backfill)
    algo = App(
        name="algo", help="The algorithm versions: list, show, add, compare, activate, retire."
    )
    for name in ("list", "show", "add", "retire"):
        function = "list_" if name == "list" else name
        algo.command(f"flows.cli.models.algo:{function}", name=name)
    algo.command("flows.cli.models.algo_compare:compare", name="compare")
    algo.command("flows.cli.models.algo_activate:activate", name="activate")
    app.command(algo)
    return app


def run(tokens: list[str]) -> int:
    """Run one command line and return its exit code."""
    debug = "--debug" in tokens
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        outcome = build_app()(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        errors.print(f"bkt: {error}", style=None, markup=False)
        return EXIT_USAGE
    except KeyboardInterrupt:
        errors.print(f"bkt: interrupted; {_STAYS}")
        return EXIT_INTERRUPTED
    except BktError as error:
        if debug:
            errors.print_exception()
        errors.print(f"bkt: {error}", markup=False)
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        refused = storage_error(error) if isinstance(error, OSError) else None
        if refused is not None:
            errors.print(f"bkt: {refused}", markup=False)
            return EXIT_ERROR
        errors.print(
            f"bkt: unexpected {type(error).__name__}: {error}. "
            "Run again with --debug for the traceback.",
            markup=False,
        )
        return EXIT_ERROR
    return outcome if isinstance(outcome, int) else 0


def main() -> None:
    """The entry point of the installed command."""
    # Unlike the default action, this ends child processes and lets a run close its row.
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under `nohup`
        signal.signal(signal.SIGHUP, _end)
    sys.exit(run(sys.argv[1:]))


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    message = f"bkt: ended by {signal.Signals(number).name}; {_STAYS}\n"
    with suppress(OSError):  # the terminal may be closed
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message.encode())
    signal.signal(number, signal.SIG_IGN)  # Prefect sends it again for each flow that it ends
    sys.exit(SIGNALLED + number)

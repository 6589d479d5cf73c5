"""`bkt`: the door. Parses, calls one command, turns errors into a sentence and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError
from rich.console import Console

from bkt_core.errors import BktError

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_COMMANDS = {
    "init": "flows.commands.database:init",
    "import": "flows.commands.attempts:import_attempts",
    "simulate": "flows.commands.simulation:simulate",
    "retrain": "flows.commands.training:retrain",
    "fit": "flows.commands.training:fit",
    "evaluate": "flows.commands.training:evaluate",
    "recompute": "flows.commands.states:recompute",
    "params": "flows.commands.states:params",
    "mastery": "flows.commands.states:mastery",
    "rollback": "flows.commands.corrections:rollback",
    "erase": "flows.commands.corrections:erase",
    "report": "flows.commands.reports:report",
    "serve": "flows.commands.serving:serve",
}


def build_app() -> App:
    """The command line; a command's module is imported when it is called."""
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
    for name, target in _COMMANDS.items():
        app.command(target, name=name)
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
        errors.print("bkt: interrupted; what was committed stays, run again to go on.")
        return EXIT_INTERRUPTED
    except BktError as error:
        if debug:
            raise
        errors.print(f"bkt: {error}", markup=False)
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        errors.print(
            f"bkt: unexpected {type(error).__name__}: {error} "
            "Run again with --debug for the traceback.",
            markup=False,
        )
        return EXIT_ERROR
    return outcome if isinstance(outcome, int) else 0


def main() -> None:
    """The entry point that `pip` installs."""
    sys.exit(run(sys.argv[1:]))

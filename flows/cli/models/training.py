"""`bkt retrain`, `bkt fit`: fit, judge, and promote.

The modules that a run needs are imported after its Prefect server has been forked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import EngineName, load_settings
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.cli.usage import usage_errors
from flows.deployment.home import settle_prefect
from flows.deployment.own_server import own_server
from flows.health.kernels import announce_compilation
from flows.runs.requests import FitRequest, RetrainRequest

if TYPE_CHECKING:
    from flows.runs.summary import RunSummary

Flag = Annotated[bool, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FitFlags:
    """Which attempts and concepts are fitted, and how; the fields are those of `Request`."""

    since: str | None = None
    "Train on attempts from this day or time on."
    until: str | None = None
    "Train on attempts before this day or time."
    concepts: Annotated[tuple[str, ...], Parameter(name="--concept", negative="")] = ()
    "Only this concept; may be repeated."
    engine: EngineName | None = None
    "The engine that fits."
    seed: int | None = None
    "Another seed of the folds."
    full: Flag = False
    "Read everything again, and also refit concepts that changed too little."


ALL = FitFlags()


def retrain(
    *,
    asked: FitFlags = ALL,
    approve: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dry_run: Flag = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Retrain: extract, fit, gate, log, promote, recompute, snapshot.

    Parameters
    ----------
    approve
        Promote this concept even if many users would cross the threshold; may be repeated.
    dry_run
        Write neither the database nor MLflow.
    """
    with usage_errors():
        request = RetrainRequest(**asdict(asked), approve=approve, dry_run=dry_run)
    request.check()
    settle_prefect(load_settings(), debug=output.debug)
    from flows.nightly import nightly

    announce_compilation()
    with own_server():
        return _give(nightly(request), output)


def fit(
    *, asked: FitFlags = ALL, algo: str | None = None, output: Output = DEFAULT_OUTPUT
) -> int:
    """Fit, gate and log without promoting anything.

    Parameters
    ----------
    algo
        The algorithm version whose bounds and rules apply, such as v2; the active by default.
    """
    with usage_errors():
        request = FitRequest(**asdict(asked), algo=algo)
    request.check()
    settle_prefect(load_settings(), debug=output.debug)
    from flows.trial_fit import trial_fit

    announce_compilation()
    with own_server():
        return _give(trial_fit(request), output)


def _give(summary: RunSummary, output: Output) -> int:
    from flows.cli.run_table import show_run

    settings = load_settings()
    output.give(summary.as_json(), lambda console: show_run(console, settings, summary))
    return summary.exit_code

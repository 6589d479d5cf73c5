"""The row of a run in `bkt_run`: written first, and always closed.

A run that raises an error is `failed`, with the message. A run that was interrupted or killed,
or that lost the run lock, stays `running`: the next run resumes it or marks it as `abandoned`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from bkt_core.errors import BktError
from datasets.errors import QuarantineLimitError
from datasets.store.errors import RunLockLostError
from datasets.store.runs.run_lock import abandon_dead_runs, alongside
from datasets.store.runs.runs import LOCKING_KINDS, RunStatus, finish_run, start_run
from flows.evidence.evidence import FACTS, finished, read_evidence, write_evidence
from flows.runs.plan import PACKAGE_VERSION
from flows.tracking.evidence_log import log_run_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from flows.runs.plan import RunPlan
    from flows.runs.requests import FitRequest, RetrainRequest

#: Most characters of an error that are stored.
LONGEST_SENTENCE = 500


@contextmanager
def recorded(
    engine: Engine,
    kind: str,
    *,
    run_id: str | None = None,
    manifest: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Write a row of `bkt_run`, close it as done or failed after the block; yield its id."""
    run_id = run_id or uuid4().hex
    with ExitStack() as stack:
        if kind not in LOCKING_KINDS:
            stack.enter_context(alongside(engine))
        with engine.begin() as conn:
            start_run(conn, run_id=run_id, kind=kind, at=datetime.now(UTC), manifest=manifest)
        try:
            yield run_id
        except BaseException as error:
            close_as_failed(engine, run_id, error)
            raise
        with engine.begin() as conn:
            finish_run(conn, run_id=run_id, status=RunStatus.DONE, at=datetime.now(UTC))


@contextmanager
def recorded_early_failure(
    engine: Engine, kind: str, request: RetrainRequest | FitRequest
) -> Iterator[None]:
    """Record a failed row for a run that fails before its id is known."""
    run_id, began = uuid4().hex, datetime.now(UTC)
    try:
        yield
    except Exception as error:
        asked = request.model_dump(mode="json")
        if not asked.get("dry_run"):
            with suppress(SQLAlchemyError), engine.begin() as conn:
                manifest = {"request": asked, "package_version": PACKAGE_VERSION}
                start_run(conn, run_id=run_id, kind=kind, at=began, manifest=manifest)
            close_as_failed(engine, run_id, error)
        raise


@contextmanager
def recorded_failure(engine: Engine, settings: Settings, plan: RunPlan) -> Iterator[None]:
    """Mark a run that raises as `failed`: in its row, in its files and in MLflow."""
    try:
        yield
    except RunLockLostError:
        raise  # the next holder of the lock resumes or abandons this run
    except Exception as error:
        if not plan.dry_run:
            close_as_failed(engine, plan.run_id, error)
            close_evidence(settings, plan.run_dir, RunStatus.FAILED, error_message(error))
        raise


def close_dead_runs(engine: Engine, settings: Settings, *, keep: str | None = None) -> None:
    """Mark unfinished runs without a process, except `keep`, as abandoned; under the lock."""
    at = datetime.now(UTC)
    for run_id in abandon_dead_runs(engine, keep=keep, at=at):
        close_evidence(
            settings,
            settings.data_dir / "runs" / run_id,
            RunStatus.ABANDONED,
            "The run was killed, and no later run resumed it.",
        )


def close_as_failed(engine: Engine, run_id: str, error: BaseException) -> None:
    """Close the row of a run as failed, with the error; ignore an unavailable database."""
    said: dict[str, Any] = {
        "error": error_message(error),
        "exit_code": error.exit_code if isinstance(error, BktError) else 1,
    }
    if isinstance(error, QuarantineLimitError):
        said["rows"] = {"read": error.read, "quarantined": error.quarantined}
    with suppress(SQLAlchemyError), engine.begin() as conn:
        finish_run(
            conn, run_id=run_id, status=RunStatus.FAILED, at=datetime.now(UTC), outcome=said
        )


def close_evidence(settings: Settings, run_dir: Path, status: RunStatus, said: str) -> None:
    """Write the final status into the evidence files of a judged run and into MLflow.

    Errors here are suppressed, so that they do not hide why the run ended.
    """
    from flows.reports.page import write_page  # imports Matplotlib, which few commands need

    with suppress(BktError, OSError):
        if not (run_dir / FACTS).is_file():
            return
        evidence = read_evidence(run_dir)
        if evidence.facts.finished_at is not None:
            return  # the files are of an earlier run with this id, which ended
        evidence = finished(
            evidence,
            status=status.value,
            finished_at=datetime.now(UTC),
            summary={"remarks": [said]},
            kept_after_all={},
        )
        write_evidence(run_dir, evidence)
        write_page(run_dir, evidence)
        log_run_files(settings, run_dir, evidence)


def error_message(error: BaseException) -> str:
    """Return an error as one line, without SQL parameters, which could contain user ids."""
    if isinstance(error, BktError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0][:LONGEST_SENTENCE]
    return f"{type(error).__name__}: {first}"

"""Prefect artifacts of a run: progress by shard, the worst concepts, a summary.

They only inform. An artifact that cannot be written causes a warning and never stops the run;
outside a flow run none are written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from bkt_settings.redaction import without_secret
from datasets.extracts.extraction import open_extract
from flows.evidence.scalars import worst_concepts
from flows.evidence.sentences import reasons, summary_sentences
from flows.runs.progress import progress
from flows.tracking.values import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from bkt_settings.pipeline import Settings
    from flows.evidence.evidence import RunEvidence
    from flows.runs.plan import RunPlan
    from flows.tracking.evidence_log import TrackingResult
    from flows.tracking.values import MonitoringReport

#: Number of rows in the table of concepts.
SHOWN = 100


class ShardProgress:
    """A progress artifact; after its first failure it is not updated any more."""

    def __init__(self, stage: str, total: int) -> None:
        self._stage, self._total, self._done = stage, total, 0
        self._artifact: UUID | None = None
        if total:
            self._artifact = _written(
                create_progress_artifact,
                progress=0.0,
                key=f"bkt-{stage}-progress",
                description=self._description,
            )

    @property
    def _description(self) -> str:
        return f"{self._stage}: {self._done} of {self._total} shards"

    def advance(self, done: int) -> None:
        """Add to the number of finished shards."""
        self._done += done
        if self._artifact is not None:
            self._artifact = _written(
                update_progress_artifact,
                artifact_id=self._artifact,
                progress=100.0 * self._done / self._total,
                description=self._description,
            )


@contextmanager
def shard_progress(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances both the progress bar and the artifact."""
    shown = ShardProgress(stage, total)
    with progress(stage, total) as advance:

        def both(done: int) -> None:
            advance(done)
            shown.advance(done)

        yield both


def publish_run(
    settings: Settings, plan: RunPlan, evidence: RunEvidence, logged: TrackingResult
) -> None:
    """Publish the worst and the rejected concepts as a table, the run as a text."""
    worst = worst_concepts(evidence, n=SHOWN)
    if worst.height:
        _written(
            create_table_artifact,
            table=worst.to_dicts(),
            key=f"bkt-{plan.kind}-concepts",
            description=f"{evidence.facts.name}: failed, rejected, kept, then by log loss",
        )
    _written(
        create_markdown_artifact,
        markdown=run_markdown(settings, plan, evidence, logged),
        key=f"bkt-{plan.kind}-summary",
        description=evidence.facts.name,
    )


def publish_monitoring(report: MonitoringReport) -> None:
    """Publish a monitoring report as a text and a table."""
    _written(
        create_markdown_artifact,
        markdown=f"# {report.name}\n\n{note(report.sentences)}\n",
        key=f"bkt-{report.kind}-summary",
        description=report.name,
    )
    if report.table.height:
        _written(
            create_table_artifact,
            table=report.table.to_dicts(),
            key=f"bkt-{report.kind}-concepts",
            description=f"{report.name}: largest drift first",
        )


def run_markdown(
    settings: Settings, plan: RunPlan, evidence: RunEvidence, logged: TrackingResult
) -> str:
    """Return a text on a run, with the reasons that stopped concepts and where to read more."""
    extract = open_extract(plan.extract_root, plan.run_dir)
    rows = ", ".join(f"{count:,} {name}" for name, count in extract.rows.as_dict().items())
    lines = [f"# {evidence.facts.name}: {evidence.facts.status}", ""]
    lines += [f"- {sentence}" for sentence in summary_sentences(evidence)]
    lines.append(f"- Rows: {rows}.")
    lines += [f"- Quarantined, {rule}: {count:,}." for rule, count in extract.reasons.items()]
    lines.append(f"- {mlflow_sentence(settings, logged)}")
    lines.append(f"- Everything else: `bkt report {plan.run_id[:12]}`.")
    stopped = reasons(evidence)
    if stopped:
        lines += ["", "| decision | one of its reasons | concepts |", "|---|---|---|"]
        lines += [
            f"| {row['decision']} | {row['reason']} | {row['concepts']} |" for row in stopped
        ]
    return "\n".join(lines) + "\n"


def mlflow_sentence(settings: Settings, logged: TrackingResult) -> str:
    """Return a sentence with the run in MLflow, as a link if possible, or the problem."""
    if logged.mlflow_run_id is None:
        return logged.problem or "Not logged to MLflow."
    where = without_secret(settings.tracking_uri)
    if where.startswith(("http://", "https://")):
        link = f"{where.rstrip('/')}/#/runs/{logged.mlflow_run_id}"
        return f"MLflow run [{logged.mlflow_run_id}]({link})."
    return f"MLflow run `{logged.mlflow_run_id}` in `{where}`."


def _written(write: Callable[..., Any], **values: Any) -> UUID | None:  # noqa: ANN401 - Prefect's
    """Write an artifact and return its id; None outside a flow run, or if it failed."""
    if FlowRunContext.get() is None:
        return None
    try:
        return cast("UUID", write(**values))  # a coroutine only inside an event loop
    except Exception as error:  # noqa: BLE001 - any error of the server: the run goes on
        get_run_logger().warning(
            "A Prefect artifact was not written (%s: %s); the run goes on.",
            type(error).__name__,
            error,
        )
        return None

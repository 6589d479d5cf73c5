"""Metrics, tags and tables of a run as plain values, which `client` logs to MLflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from bkt_core.family.params import params_as_json
from flows.evidence.scalars import run_scalars
from flows.evidence.sentences import summary_sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import polars as pl

    from bkt_core.family.params import Params
    from flows.evidence.evidence import RunEvidence

RUN_TAG = "bkt.run_id"
#: Tag of a model version with the digest of its parameters.
DIGEST_TAG = "bkt.parameters"
#: Longest texts that MLflow's stores accept.
MAX_PARAM, MAX_TAG, MAX_DIGEST = 500, 5_000, 36
PARAMS_PER_CALL = 100
#: Without this tag MLflow shows the experiment as one about chat traces.
OPEN_AS = {"mlflow.experimentKind": "custom_model_development"}
#: Status in MLflow of runs that did not end well.
ENDED = {"failed": "FAILED", "abandoned": "KILLED"}
#: Tag with the description that MLflow shows above a run.
NOTE = "mlflow.note.content"


def metrics_of(evidence: RunEvidence) -> Iterator[tuple[str, float, int]]:
    """Yield key, value and step of every scalar, and of scores by fold."""
    for key, value in run_scalars(evidence).items():
        yield key, value, 0
    for fold, scores in enumerate(evidence.facts.scores.by_fold):
        for name in ("auc", "log_loss", "rmse"):
            score = None if scores is None else getattr(scores, name)
            if score is not None:
                yield f"fold_{name}", score, fold


def tags_of_run(evidence: RunEvidence) -> dict[str, str]:
    """Return the tags that identify the run, and its description."""
    facts = evidence.facts
    tags = {f"bkt.{key}": value for key, value in facts.tags.items() if value}
    tags["bkt.status"] = facts.status
    source = source_of(facts.kind, facts.tags)
    return shortened(tags | source | {NOTE: note(summary_sentences(evidence))})


def note(sentences: Iterable[str]) -> str:
    """Format sentences as a list in Markdown."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def source_of(kind: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of MLflow's own columns: what was called, by whom, at which commit."""
    called = ", ".join(filter(None, (f"bkt {kind}", tags.get("trigger"))))
    own = {"mlflow.source.type": "JOB", "mlflow.source.name": called}
    if tags.get("git_commit"):
        own["mlflow.source.git.commit"] = tags["git_commit"]
    return own


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MonitoringReport:
    """The report of monitoring, ready for MLflow."""

    run_id: str
    kind: str
    name: str  # for people
    metrics: Mapping[str, float]
    sentences: Sequence[str]
    table: pl.DataFrame
    about: Mapping[str, str] = field(default_factory=dict)  # kind, trigger, git_commit, …

    def tags(self) -> dict[str, str]:
        """Return the tags that identify it, and its description."""
        about = {f"bkt.{key}": value for key, value in self.about.items() if value}
        source = source_of(self.kind, self.about)
        return shortened(about | source | {NOTE: note(self.sentences)})


def shortened(tags: Mapping[str, str]) -> dict[str, str]:
    """Shorten tags to the length that any store accepts."""
    return {key: str(value)[:MAX_TAG] for key, value in tags.items()}


def as_table(table: pl.DataFrame) -> dict[str, Any]:
    """Return a frame in the form of tables on MLflow's pages."""
    return {"columns": table.columns, "data": [list(row) for row in table.iter_rows()]}


def dataset_of(evidence: RunEvidence) -> dict[str, str] | None:
    """Return the attempts of a run as MLflow's data set, with the digest of the extraction."""
    digest = evidence.facts.tags.get("data_digest", "")
    if not digest:
        return None
    profile = {"num_rows": _rows_of(evidence)}
    return {
        "name": "attempts",
        "digest": digest[:MAX_DIGEST],
        "source_type": "local",
        "source": json.dumps({"extract": digest}),
        "profile": json.dumps(profile),
    }


def _rows_of(evidence: RunEvidence) -> int:
    """Return the number of attempts: as the run counted them, or the sum over concepts."""
    counted = evidence.facts.summary.get("rows", {}).get("accepted")
    return int(counted if counted is not None else evidence.concepts["n_attempts"].sum())


def model_content(params: Mapping[str, Params], defaults: Params) -> dict[str, Any]:
    """Return the parameters in force in the form of the model's file."""
    return {
        "defaults": defaults.as_dict(),
        "concepts": {concept: params_as_json(own) for concept, own in sorted(params.items())},
    }


def model_digest(content: Mapping[str, Any]) -> str:
    """Return a digest that identifies a set of parameters exactly."""
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

"""Evidence of runs to MLflow and back: the only file that speaks to it.

MLflow is a logbook. Nothing here decides anything, and a run whose evidence cannot be delivered
keeps it in its files (`bkt report --relog RUN`). No active run is used as hidden state.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from flows.report import summary_sentences
from flows.run_evidence import evidence_files
from flows.run_scalars import run_scalars, worst_concepts
from flows.tracking_store import TrackingUnavailableError, is_absent, make_room, probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl
    from mlflow.tracking import MlflowClient

    from bkt_core.params import BktParams
    from flows.run_evidence import RunEvidence

RUN_TAG = "bkt.run_id"
#: Of a model version: which parameters it has.
DIGEST_TAG = "bkt.parameters"
#: Longest texts that MLflow's stores take.
MAX_PARAM, MAX_TAG, MAX_DIGEST = 500, 5_000, 36
PARAMS_PER_CALL = 100
#: Without it MLflow opens the experiment as one about chat traces.
_OPEN_AS = {"mlflow.experimentKind": "custom_model_development"}
#: How a run that did not end well stands in MLflow.
_ENDED = {"failed": "FAILED", "abandoned": "KILLED"}
#: MLflow's own patience with a server that is down is minutes.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


def log_retrain(
    tracking_uri: str,
    experiment: str,
    artifact_root: str | None,
    evidence: RunEvidence,
    folder: Path,
) -> str:
    """Log one run and its files; returns MLflow's id of it.

    Called again for the same run (when it has ended, when it is resumed, by `--relog`) it
    updates the same MLflow run. Raises `TrackingUnavailableError`.
    """
    with _client(tracking_uri) as client:
        experiment_id = _experiment(client, experiment, artifact_root)
        run_id = _run_of(client, experiment_id, evidence)
        _log_values(client, run_id, evidence)
        _log_dataset(client, run_id, evidence)
        for file in evidence_files(folder):
            inside = str(file.parent.relative_to(folder))
            client.log_artifact(run_id, str(file), None if inside == "." else inside)
        _log_table(client, run_id, worst_concepts(evidence))
        if evidence.facts.finished_at is not None:
            client.set_terminated(run_id, _ENDED.get(evidence.facts.status, "FINISHED"))
        return run_id


def register_parameters(
    tracking_uri: str,
    experiment: str,
    model_name: str,
    *,
    params: Mapping[str, BktParams],
    defaults: BktParams,
    mlflow_run_id: str | None = None,
) -> int | None:
    """Let the alias `champion` be the version with these parameters; returns its number.

    Call it after the database has committed. The same parameters have one version however
    often it is called, and are found again after a rollback. A new version keeps its files with
    the given run, else with the newest; None where MLflow has heard of nothing yet. Raises
    `TrackingUnavailableError`.
    """
    if is_absent(tracking_uri):
        return None
    content = {
        "defaults": defaults.as_dict(),
        "concepts": {concept: own.as_dict() for concept, own in sorted(params.items())},
    }
    digest = _digest(content)
    with _client(tracking_uri) as client:
        versions = _versions(client, model_name)
        version = versions.by_digest.get(digest)
        if version is None:
            home = mlflow_run_id or _newest_run(client, experiment)
            if home is None or not (params or versions.by_digest):
                return None
            version = _new_version(client, model_name, home, content, digest)
        if version != versions.champion:
            client.set_registered_model_alias(model_name, "champion", str(version))
        return version


@contextmanager
def _client(tracking_uri: str) -> Iterator[MlflowClient]:
    """A client of the store, whose every failure is one sentence."""
    probe(tracking_uri)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_room(tracking_uri)
        yield MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise TrackingUnavailableError(
            tracking_uri=tracking_uri, reason=f"{reason.rstrip('.')}."
        ) from error


def _experiment(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if artifact_root is None else f"{artifact_root.rstrip('/')}/{name}"
    return str(client.create_experiment(name, artifact_location=location, tags=_OPEN_AS))


def _run_of(client: MlflowClient, experiment_id: str, evidence: RunEvidence) -> str:
    """The MLflow run of this run, made if need be."""
    facts = evidence.facts
    found = client.search_runs(
        [experiment_id], filter_string=f"tags.`{RUN_TAG}` = '{facts.run_id}'", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    tags = {RUN_TAG: facts.run_id, "bkt.kind": facts.kind, "mlflow.runName": facts.name}
    return str(client.create_run(experiment_id, tags=tags).info.run_id)


def _log_values(client: MlflowClient, run_id: str, evidence: RunEvidence) -> None:
    """Scalars, fold curves, settings and tags, in as few calls as the store takes."""
    from mlflow.entities import Metric, Param, RunTag

    facts, now = evidence.facts, int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in run_scalars(evidence).items()]
    for fold, scores in enumerate(facts.scores.by_fold):
        for name in ("auc", "log_loss", "rmse"):
            value = None if scores is None else getattr(scores, name)
            if value is not None:
                metrics.append(Metric(f"fold_{name}", value, now, fold))
    tags = {f"bkt.{key}": value for key, value in facts.tags.items() if value}
    tags["bkt.status"] = facts.status
    tags["mlflow.note.content"] = "\n".join(f"- {s}" for s in summary_sentences(evidence))
    known = client.get_run(run_id).data.params
    params = [
        Param(key, value[:MAX_PARAM])
        for key, value in facts.settings.items()
        if key not in known
    ]
    for start in range(0, len(params), PARAMS_PER_CALL):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_CALL])
    client.log_batch(
        run_id,
        metrics=metrics,
        tags=[RunTag(key, str(value)[:MAX_TAG]) for key, value in tags.items()],
    )


def _log_dataset(client: MlflowClient, run_id: str, evidence: RunEvidence) -> None:
    from mlflow.entities import Dataset, DatasetInput

    digest = evidence.facts.tags.get("data_digest", "")
    if not digest:
        return
    profile = {"num_rows": evidence.facts.summary.get("rows", {}).get("accepted")}
    dataset = Dataset(
        name="attempts",
        digest=digest[:MAX_DIGEST],
        source_type="local",
        source=json.dumps({"extract": digest}),
        profile=json.dumps(profile),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [])])


def _log_table(client: MlflowClient, run_id: str, table: pl.DataFrame) -> None:
    """As `log_table` writes it, which would append where a run is logged again."""
    content = {"columns": table.columns, "data": [list(row) for row in table.iter_rows()]}
    client.log_dict(run_id, content, "worst_concepts.json")
    logged = [{"path": "worst_concepts.json", "type": "table"}]
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(logged))


@dataclass(frozen=True, slots=True)
class _Versions:
    """The registered versions of a model, by the digest of their parameters."""

    by_digest: Mapping[str, int]
    champion: int | None


def _versions(client: MlflowClient, model_name: str) -> _Versions:
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return _Versions({}, None)
    found = client.search_model_versions(f"name = '{model_name}'")
    champion = model.aliases.get("champion")
    return _Versions(
        {version.tags.get(DIGEST_TAG, ""): int(version.version) for version in found},
        None if champion is None else int(champion),
    )


def _newest_run(client: MlflowClient, experiment: str) -> str | None:
    """The last night that MLflow has heard of."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    runs = client.search_runs(
        [str(found.experiment_id)],
        filter_string="tags.`bkt.kind` = 'retrain'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(runs[0].info.run_id) if runs else None


def _new_version(
    client: MlflowClient, model_name: str, home: str, content: dict[str, Any], digest: str
) -> int:
    """Register parameters whose files lie among a run's artifacts."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            model_name, description="BKT parameters in force, one version per set of them."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = _log_model(client, home, content, digest)
    created = client.create_model_version(
        model_name, source, run_id=home, tags={DIGEST_TAG: digest}
    )
    return int(created.version)


def _log_model(client: MlflowClient, home: str, content: dict[str, Any], digest: str) -> str:
    """Write the model's folder among the run's artifacts; returns its address."""
    from mlflow import pyfunc

    inside = f"models/{digest}"
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "parameters.json"
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        model = Path(scratch) / "model"
        pyfunc.save_model(
            path=str(model),
            python_model=str(Path(__file__).with_name("mastery_model.py")),
            artifacts={"parameters": str(file)},
            code_paths=[str(Path(__file__).parent.parent / "bkt_core")],
            pip_requirements=["numpy", "numba", "pandas"],
        )
        client.log_artifacts(home, str(model), inside)
    return f"{client.get_run(home).info.artifact_uri.rstrip('/')}/{inside}"


def _digest(content: dict[str, Any]) -> str:
    """A name for a set of parameters, to the last bit."""
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

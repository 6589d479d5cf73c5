"""Log evidence of runs to MLflow; only the modules of this folder use MLflow.

MLflow only records: it decides nothing here, and no active run is used as hidden state. A run
whose evidence cannot be delivered keeps it in its files (`bkt report --relog RUN`).
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.evidence.evidence import evidence_files
from flows.evidence.scalars import worst_concepts
from flows.tracking.model_files import log_model
from flows.tracking.store import (
    TrackingUnavailableError,
    configure_mlflow,
    create_store_folder,
    is_unused,
    require_reachable,
)
from flows.tracking.values import (
    DIGEST_TAG,
    ENDED,
    MAX_PARAM,
    OPEN_AS,
    PARAMS_PER_CALL,
    RUN_TAG,
    as_table,
    dataset_of,
    metrics_of,
    model_content,
    model_digest,
    tags_of_run,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import polars as pl
    from mlflow.tracking import MlflowClient

    from bkt_core.family.params import Params
    from flows.evidence.evidence import RunEvidence
    from flows.tracking.values import MonitoringReport


def log_retrain(
    tracking_uri: str,
    experiment: str,
    artifact_root: str | None,
    evidence: RunEvidence,
    folder: Path,
) -> str:
    """Log one run and its files; return its MLflow id.

    Another call for the same run (when it ends, is resumed, or by `--relog`) updates the same
    MLflow run. Raises `TrackingUnavailableError`.
    """
    with client_of(tracking_uri) as client:
        experiment_id = experiment_of(client, experiment, artifact_root)
        facts = evidence.facts
        run_id = run_of(client, experiment_id, facts.run_id, kind=facts.kind, name=facts.name)
        _log_params(client, run_id, facts.settings)
        _log_values(client, run_id, metrics_of(evidence), tags_of_run(evidence))
        _log_dataset(client, run_id, evidence)
        for file in evidence_files(folder):
            inside = str(file.parent.relative_to(folder))
            client.log_artifact(run_id, str(file), None if inside == "." else inside)
        _log_table(client, run_id, "worst_concepts.json", worst_concepts(evidence))
        if facts.finished_at is not None:
            client.set_terminated(run_id, ENDED.get(facts.status, "FINISHED"))
        return run_id


def register_parameters(
    tracking_uri: str,
    experiment: str,
    model_name: str,
    *,
    params: Mapping[str, Params],
    defaults: Params,
    mlflow_run_id: str | None = None,
) -> int | None:
    """Point the alias `champion` to the version with these parameters; return its number.

    Call it after the database has committed. The same parameters always have one version, which
    is found again after a rollback. A new version stores its files with the given run,
    otherwise with the newest one. The result is None if MLflow has no run yet. Raises
    `TrackingUnavailableError`.
    """
    if is_unused(tracking_uri):
        return None
    content = model_content(params, defaults)
    digest = model_digest(content)
    with client_of(tracking_uri) as client:
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


def log_monitoring_run(
    tracking_uri: str,
    experiment: str,
    artifact_root: str | None,
    *,
    report: MonitoringReport,
    files: Sequence[Path],
) -> str:
    """Log a run that fits nothing, such as monitoring; return its MLflow id.

    Raises `TrackingUnavailableError`.
    """
    with client_of(tracking_uri) as client:
        experiment_id = experiment_of(client, experiment, artifact_root)
        run_id = run_of(
            client, experiment_id, report.run_id, kind=report.kind, name=report.name
        )
        metrics = [(key, value, 0) for key, value in report.metrics.items()]
        _log_values(client, run_id, metrics, report.tags())
        for file in files:
            client.log_artifact(run_id, str(file))
        _log_table(client, run_id, f"{report.kind}.json", report.table)
        client.set_terminated(run_id)
        return run_id


@contextmanager
def client_of(tracking_uri: str) -> Iterator[MlflowClient]:
    """Yield a client of the store; every error becomes one sentence."""
    require_reachable(tracking_uri)
    configure_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_store_folder(tracking_uri)
        yield MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise TrackingUnavailableError(
            tracking_uri=tracking_uri, reason=f"{reason.rstrip('.')}."
        ) from error


def experiment_of(client: MlflowClient, name: str, artifact_root: str | None) -> str:
    """Return MLflow's id of an experiment; create it if it is missing."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if artifact_root is None else f"{artifact_root.rstrip('/')}/{name}"
    return str(client.create_experiment(name, artifact_location=location, tags=OPEN_AS))


def run_of(
    client: MlflowClient, experiment_id: str, run_id: str, *, kind: str, name: str
) -> str:
    """Return the MLflow id of this run; create it if it is missing."""
    found = client.search_runs(
        [experiment_id], filter_string=f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    tags = {RUN_TAG: run_id, "bkt.kind": kind, "mlflow.runName": name}
    return str(client.create_run(experiment_id, tags=tags).info.run_id)


def _log_params(client: MlflowClient, run_id: str, settings: Mapping[str, str]) -> None:
    """Log the settings that are missing, in as few calls as the store accepts."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    params = [Param(key, settings[key][:MAX_PARAM]) for key in settings if key not in known]
    for start in range(0, len(params), PARAMS_PER_CALL):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_CALL])


def _log_values(
    client: MlflowClient,
    run_id: str,
    metrics: Iterable[tuple[str, float, int]],
    tags: Mapping[str, str],
) -> None:
    """Log metrics by key, value and step, and tags."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, now, step) for key, value, step in metrics],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def _log_dataset(client: MlflowClient, run_id: str, evidence: RunEvidence) -> None:
    from mlflow.entities import Dataset, DatasetInput

    values = dataset_of(evidence)
    if values is not None:
        client.log_inputs(run_id, [DatasetInput(Dataset(**values), [])])


def _log_table(client: MlflowClient, run_id: str, name: str, table: pl.DataFrame) -> None:
    """Write a table like `log_table`, which would append if a run is logged again."""
    client.log_dict(run_id, as_table(table), name)
    logged = [{"path": name, "type": "table"}]
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
    """Return the last nightly run in MLflow."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    nights, newest = "tags.`bkt.kind` = 'retrain'", ["attributes.start_time DESC"]
    runs = client.search_runs([found.experiment_id], nights, order_by=newest, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _new_version(
    client: MlflowClient, model_name: str, home: str, content: dict[str, Any], digest: str
) -> int:
    """Register parameters whose files are artifacts of a run."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            model_name, description="BKT parameters in force, one version per set of them."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = log_model(client, home, content, digest)
    created = client.create_model_version(
        model_name,
        source,
        run_id=home,
        tags={DIGEST_TAG: digest},
        description=f"Parameters of {len(content['concepts'])} concepts, else the defaults.",
    )
    return int(created.version)

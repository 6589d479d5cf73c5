"""Flow: compare two algorithm versions on the same held-out users (`bkt algo compare`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect import runtime

from bkt_core.judgement.warm_up import compile_kernels
from bkt_settings.pipeline import load_settings
from datasets.sequences.readers import Window
from datasets.sequences.warm_up import compile_row_kernels
from datasets.store.connections.engines import reading
from datasets.store.runs.runs import RunStatus, finish_run
from flows.extract_attempts import extract_attempts
from flows.lifecycle.deployed import deployed, ended, quiet_subflows
from flows.lifecycle.record import recorded
from flows.reports.versions_page import write_version_page
from flows.runs.compiled import announce_variants
from flows.runs.database import open_database
from flows.runs.known_concepts import refuse_unattempted_concepts
from flows.runs.log import run_log
from flows.runs.plan import PACKAGE_VERSION, flood_of
from flows.runs.requests import CompareRequest
from flows.shards.dask_cluster import require_same_files, require_same_versions
from flows.tracking.evidence_log import log_comparison
from flows.versions.comparison import compare_versions as compare
from flows.versions.files import write_comparison
from flows.versions.report import version_report
from flows.versions.sides import KIND, fresh_fits, rows_in_force, versions_named

if TYPE_CHECKING:
    from pathlib import Path

    from bkt_settings.pipeline import Settings
    from flows.versions.comparison import VersionComparison


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """A comparison, and where it is stored."""

    run_id: str
    comparison: VersionComparison
    page: Path
    mlflow_run_id: str | None
    #: Why it was not logged to MLflow; None if it was.
    problem: str | None

    @property
    def exit_code(self) -> int:
        """6 if the evidence was not delivered to MLflow, otherwise 0."""
        return 6 if self.problem else 0

    def as_json(self) -> dict[str, Any]:
        """Return what `bkt algo compare --json` prints."""
        kept = {
            "run_id": self.run_id,
            "mlflow_run_id": self.mlflow_run_id,
            "page": str(self.page),
            "problem": self.problem,
        }
        return kept | self.comparison.as_json()


@deployed("compare-versions")
def compare_versions(request: CompareRequest) -> Compared:
    """Extract, fit both versions, predict held-out attempts, replay all users, log."""
    settings = load_settings()
    request.check()
    named = request.engine or settings.fit.engine
    with (
        quiet_subflows(),
        run_log(settings, KIND, request) as log,
        open_database(settings) as engine,
    ):
        require_same_versions(settings)
        with reading(engine) as conn:
            versions = versions_named(conn, request.a, request.b)
        asked = request.model_dump(mode="json")
        manifest = {"request": asked, "package_version": PACKAGE_VERSION}
        with recorded(engine, KIND, manifest=manifest) as run_id:
            announce_variants(versions.a.params, versions.b.params)
            compile_kernels(named, settings.gates, versions.a.params, versions.b.params)
            compile_row_kernels()
            began = datetime.now(UTC)
            folder = settings.data_dir / "runs" / run_id
            log.named(run_id, folder)
            extracted = extract_attempts(
                settings, full=request.full, versions=(request.a, request.b)
            )
            extract = extracted.open().file_under(folder)
            require_same_files(settings, extract.root)
            attempted = extract.concepts["concept_id"].to_pylist()
            refuse_unattempted_concepts(request.concepts, attempted)
            if request.in_force:
                with reading(engine) as conn:
                    sides = rows_in_force(conn, versions, settings.data_dir / "fits")
            else:
                sides = fresh_fits(
                    settings, request, extract, versions, run_id=run_id, at=began
                )
            flood = flood_of(settings, extract)
            comparison = compare(
                extract,
                versions.names,
                sides,
                window=Window(since=request.since, until=request.until),
                left_out=None if flood is None else flood.users,
                only=frozenset(request.concepts),
                variant=versions.variant,
            )
            report = version_report(
                comparison,
                run_id=run_id,
                tags=_tags(settings, request),
                data_digest=extract.digest,
                at=began,
            )
            files = write_comparison(folder, report)
            page = write_version_page(folder, report)
        logged = log_comparison(settings, report, [*files, page])
        with engine.begin() as conn:
            outcome = report.outcome() | {"mlflow_run_id": logged.mlflow_run_id}
            at = datetime.now(UTC)
            finish_run(conn, run_id=run_id, status=RunStatus.DONE, at=at, outcome=outcome)
    done = Compared(
        run_id=run_id,
        comparison=comparison,
        page=page,
        mlflow_run_id=logged.mlflow_run_id,
        problem=logged.problem,
    )
    return ended(done, told=logged.problem)


def _tags(settings: Settings, request: CompareRequest) -> dict[str, str]:
    """Return the request as tags, with the names that a nightly run uses."""
    return {
        "since": "" if request.since is None else request.since.isoformat(),
        "until": "" if request.until is None else request.until.isoformat(),
        "engine": str(request.engine or settings.fit.engine),
        "seed": str(settings.fit.seed if request.seed is None else request.seed),
        "parameters": "in force" if request.in_force else "fitted",
        "prefect_flow_run_id": str(runtime.flow_run.root_flow_run_id or ""),
    }

"""The plan of a run: its identity and id, and whether it resumes an unfinished run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from bkt_core.evaluation.concept_fit import FitPlan
from bkt_core.sources import sources_digest
from datasets.fit_files import digest_of, settings_digest
from datasets.sequences.floods import Flood, flooding_users
from datasets.sequences.readers import Window
from datasets.store.params.events import last_switch
from datasets.store.params.skill_params import active_params
from datasets.store.runs.runs import RunStatus, find_run, find_unfinished, list_runs, start_run

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.store.params.algorithms import Algorithm
    from flows.runs.requests import Request

PACKAGE_VERSION = version("bkt-pipeline")
ENDED_WELL = (RunStatus.DONE, RunStatus.UNCHANGED)
#: Kind of a run that fits a candidate version as a part of a nightly run.
CANDIDATE = "candidate"


class RunPlan(BaseModel):
    """One run as its stages see it: ids, paths and numbers, no secrets or connections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    kind: str
    identity: str
    started_at: datetime
    resumed: bool
    extract_root: Path
    run_dir: Path
    fits_dir: Path
    algo_version: str
    algo_version_id: int
    since: datetime | None
    until: datetime | None
    known_by: datetime | None = None
    known_in: Path | None = None
    concepts: tuple[str, ...]
    approve: tuple[str, ...]
    engine: str
    seed: int
    settings_digest: str
    full: bool
    dry_run: bool
    #: Whether attempts were added or removed since the last nightly run that ended.
    data_is_new: bool = True
    #: Whether a run with the same attempts, settings and parameters in force has ended before.
    has_ended_before: bool = False
    #: The run of which this one is a step.
    parent_run_id: str | None = None

    @property
    def label(self) -> str:
        """The name of its parts on Prefect's pages: the end of its window, or its id."""
        return f"until {self.until:%Y-%m-%d}" if self.until else self.run_id[:8]

    @property
    def window(self) -> Window:
        """The window of attempts to fit."""
        return Window(
            since=self.since, until=self.until, known_by=self.known_by, known_in=self.known_in
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The parent of a run that is a step of a backfill."""

    parent_run_id: str
    run_id: str
    known_by: datetime | None = None
    known_in: Path | None = None


def fit_plan_of(settings: Settings, algorithm: Algorithm, *, seed: int) -> FitPlan:
    """Return the settings with which a run fits and scores a concept."""
    return FitPlan(
        options=settings.fit.options(algorithm.params.bounds),
        algo=algorithm.params,
        n_folds=settings.fit.folds,
        fold_seed=seed,
        wide_bounds=settings.fit.wider(algorithm.params.bounds),
    )


def begin_run(
    engine: Engine,
    settings: Settings,
    request: Request,
    extract: Extract,
    algorithm: Algorithm,
    *,
    kind: str,
    at: datetime,
    step: Step | None = None,
) -> RunPlan:
    """Name the run, and write its row before anything else is written.

    Call it under the run lock if the kind takes it. An unfinished run with the same identity is
    resumed under its own id; a step of another run has its id from there, and continues there.
    """
    engine_name = request.engine.value if request.engine else settings.fit.engine
    seed = settings.fit.seed if request.seed is None else request.seed
    plan = fit_plan_of(settings, algorithm, seed=seed)
    window = Window(
        since=request.since, until=request.until, known_by=step.known_by if step else None
    )
    made_by = digest_of_fits(settings, extract, plan, engine_name, window)
    asked = request.model_dump(mode="json")
    identity = digest_of(
        {
            "kind": kind,
            "algo_version": algorithm.version,  # another one may have equal settings
            "data": extract.digest,
            "settings": made_by,
            "sections": settings.model_dump(mode="json", include={"fit", "gates", "extract"}),
            "request": asked,
        }
    )
    with engine.begin() as conn:
        incumbents = {
            concept: stored.param_id
            for concept, stored in active_params(conn, algorithm.id).items()
        }
        unfinished = (
            find_run(conn, step.run_id) if step else find_unfinished(conn, identity=identity)
        )
        named = {
            "identity": identity,
            "incumbents": incumbents,
            # A rollback and its release leave the incumbents unchanged.
            "last_switch": last_switch(conn, algorithm.id),
        }
        run_id = step.run_id if step else unfinished.run_id if unfinished else digest_of(named)
        data_is_new = step is not None or last_data_digest(conn) != extract.digest
        before = None if step else find_run(conn, run_id)
        manifest = _manifest(settings, asked, extract, algorithm, incumbents)
        if not getattr(request, "dry_run", False):
            start_run(
                conn, run_id=run_id, kind=kind, identity=identity, at=at, manifest=manifest
            )
    return RunPlan(
        run_id=run_id,
        kind=kind,
        identity=identity,
        started_at=at,
        resumed=unfinished is not None,
        extract_root=extract.root,
        run_dir=settings.data_dir / "runs" / run_id,
        fits_dir=settings.data_dir / "fits",
        algo_version=algorithm.version,
        algo_version_id=algorithm.id,
        since=request.since,
        until=request.until,
        concepts=request.concepts,
        approve=getattr(request, "approve", ()),
        engine=engine_name,
        seed=seed,
        settings_digest=made_by,
        full=request.full,
        dry_run=getattr(request, "dry_run", False),
        data_is_new=data_is_new,
        has_ended_before=before is not None and before.status in ENDED_WELL,
        known_by=step.known_by if step else None,
        known_in=step.known_in if step else None,
        parent_run_id=step.parent_run_id if step else None,
    )


def digest_of_fits(
    settings: Settings, extract: Extract, plan: FitPlan, engine: str, window: Window
) -> str:
    """Return the digest of all that the fits of a run depend on besides their attempts."""
    return settings_digest(
        plan,
        engine=engine,
        shrink=settings.fit.shrink,
        window=window,
        left_out=left_out_digest(settings, extract),
        version=code_version(),
    )


def code_version() -> str:
    """Return the version of the package, and a digest of the code that fits and judges."""
    return f"{PACKAGE_VERSION} {sources_digest()}"


def last_data_digest(conn: Connection) -> str | None:
    """Return the data digest of the last nightly run that ended well; None before the first."""
    runs = list_runs(conn, kind="retrain")
    last = (run.manifest for run in runs if run.status in ENDED_WELL)
    return next((manifest.get("data_digest") for manifest in last), None)


def flood_of(settings: Settings, extract: Extract) -> Flood | None:
    """Return users above the configured attempt rate; None if no rate is configured."""
    per_hour = settings.extract.flood_attempts_per_hour
    return flooding_users(extract, per_hour=per_hour) if per_hour else None


def left_out_digest(settings: Settings, extract: Extract) -> str:
    """Return a text that changes with the set of users left out of fits."""
    flood = flood_of(settings, extract)
    if flood is None:
        return "nobody"
    users = extract.users["user_id"].filter(flood.users).to_pylist()
    return digest_of({"users": users})


def _manifest(
    settings: Settings,
    asked: dict[str, Any],
    extract: Extract,
    algorithm: Algorithm,
    incumbents: dict[str, int],
) -> dict[str, Any]:
    """Return everything needed to repeat the run, without secrets."""
    return {
        "request": asked,
        "data_digest": extract.digest,
        "rows": extract.rows.as_dict(),
        "reasons": extract.reasons,
        "algo_version": algorithm.version,
        "package_version": PACKAGE_VERSION,
        "settings": settings.evidence(),
        "incumbents": incumbents,
    }

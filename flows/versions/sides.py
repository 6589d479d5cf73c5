"""The parameters of two versions for each concept: new fits, or the stored rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from bkt_core.errors import BktError
from bkt_core.judgement.versions import params_in_force, params_of_fit
from bkt_core.variant import Variant
from datasets.store.params.algorithms import algorithm
from datasets.store.params.skill_params import active_params, with_question_odds
from flows.runs.plan import RunPlan, digest_of_fits, fit_plan_of
from flows.shards.plan import incumbent_of, plan_shards
from flows.shards.runners import run_shards
from flows.shards.works import read_works

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Connection

    from bkt_core.evaluation.concept_fit import ConceptFit
    from bkt_core.judgement.versions import VersionParams
    from bkt_core.params import AlgoParams
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.store.params.algorithms import Algorithm
    from flows.runs.requests import Request
    from flows.versions.comparison import Sides

KIND = "compare"

T = TypeVar("T")


class FitFailedError(BktError):
    """A version could not be fitted, so that it cannot be compared."""

    def __init__(self, *, version: str, failed: int, concept: str, error: str | None) -> None:
        super().__init__(
            f"{failed} concepts could not be fitted under {version}, so it was not compared; "
            f"the first was {concept!r}: {error}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The two versions that are compared."""

    a: Algorithm
    b: Algorithm

    @property
    def variant(self) -> Variant:
        """The parts that either version has."""
        a, b = self.a.params.variant.as_json(), self.b.params.variant.as_json()
        return Variant(**(a | b))

    @property
    def names(self) -> tuple[str, str]:
        """The names of both versions."""
        return self.a.version, self.b.version


def versions_named(conn: Connection, a: str, b: str) -> Versions:
    """Read both versions by name; raises if one is missing or has unknown settings."""
    return Versions(a=algorithm(conn, a), b=algorithm(conn, b))


def rows_in_force(conn: Connection, versions: Versions, fits_dir: Path) -> Sides:
    """Return what each version has in force: its active rows, otherwise its defaults."""
    rows = {
        one.id: {
            concept: incumbent_of(row, newest=None).champion_with_folds(fits_dir)
            for concept, row in with_question_odds(conn, active_params(conn, one.id)).items()
        }
        for one in (versions.a, versions.b)
    }

    return _by_concept(versions, rows, params_in_force)


def fresh_fits(
    settings: Settings,
    request: Request,
    extract: Extract,
    versions: Versions,
    *,
    run_id: str,
    at: datetime,
) -> Sides:
    """Fit each version on the same attempts; fits of earlier runs are reused."""
    folder = settings.data_dir / "runs" / run_id
    fits = {
        one.id: _fits_of(
            settings,
            version_plan(settings, request, extract, one, run_id=run_id, folder=folder, at=at),
            extract,
        )
        for one in (versions.a, versions.b)
    }

    return _by_concept(versions, fits, params_of_fit)


def _by_concept(
    versions: Versions,
    found: Mapping[int, Mapping[str, T]],
    params_of: Callable[[T | None, AlgoParams], VersionParams],
) -> Sides:
    """Return both versions' parameters at a concept; `found` is keyed by version id."""

    def of(version: Algorithm, concept_id: str) -> VersionParams:
        return params_of(found[version.id].get(concept_id), version.params)

    return lambda concept_id: (of(versions.a, concept_id), of(versions.b, concept_id))


def version_plan(
    settings: Settings,
    request: Request,
    extract: Extract,
    version: Algorithm,
    *,
    run_id: str,
    folder: Path,
    at: datetime,
) -> RunPlan:
    """Return the plan with which a run would fit one version, under the comparison's id."""
    engine = request.engine.value if request.engine else settings.fit.engine.value
    seed = settings.fit.seed if request.seed is None else request.seed
    plan = RunPlan(
        run_id=run_id,
        kind=KIND,
        identity="",
        started_at=at,
        resumed=False,
        extract_root=extract.root,
        run_dir=folder,
        fits_dir=settings.data_dir / "fits",
        algo_version=version.version,
        algo_version_id=version.id,
        since=request.since,
        until=request.until,
        concepts=request.concepts,
        approve=(),
        engine=engine,
        seed=seed,
        settings_digest="",
        full=request.full,
        dry_run=False,
    )
    made_by = digest_of_fits(
        settings, extract, fit_plan_of(settings, version, seed=seed), engine, plan.window
    )
    return plan.model_copy(update={"settings_digest": made_by})


def _fits_of(settings: Settings, plan: RunPlan, extract: Extract) -> dict[str, ConceptFit]:
    """Fit every concept as a run would, without regard to what is in force."""
    folder = plan.run_dir / f"shards-{plan.algo_version}"
    jobs = [
        replace(job, incumbents={}, out=(folder / job.out.name).absolute())
        for job in plan_shards(settings, plan, extract)
    ]
    for _ in run_shards(settings, jobs, extract):
        pass
    works = [work for job in jobs for work in read_works(job.out)]
    failed = [work for work in works if work.evidence is None]
    if failed:
        raise FitFailedError(
            version=plan.algo_version,
            failed=len(failed),
            concept=failed[0].concept_id,
            error=failed[0].error,
        )
    return {work.concept_id: work.evidence.fit for work in works if work.evidence is not None}

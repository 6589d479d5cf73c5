"""The evidence of a run for people: written to its folder once, read by all reports.

`<data_dir>/runs/<run_id>/` has `evidence.json` (facts of the run), `concepts.parquet`,
`gates.parquet` (every check) and `curves.parquet`. MLflow, the terminal, the page and a later
`bkt report --relog` read these files; none of them reads the database.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from bkt_core.errors import BktError
from bkt_core.evaluation.metrics import Scores
from datasets.parquet import write_frame
from datasets.whole_files import read_json, write_json
from flows.evidence.scores import BoundCost, PooledScores, pooled_scores
from flows.evidence.tables import check_table, concept_table, curve_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bkt_core.judgement.evidence import Verdict
    from bkt_core.params import AlgoParams

FACTS, CONCEPTS = "evidence.json", "concepts.parquet"
CHECKS, CURVES = "gates.parquet", "curves.parquet"
PAGE, DATA_PAGE, FIGURES = "report.html", "data.html", "figures"


class RunFilesMissingError(BktError):
    """The evidence of a run is not on this disk."""

    def __init__(self, *, run_id: str, folder: Path) -> None:
        super().__init__(
            f"Run {run_id} has left no evidence in {folder}; it may have been pruned, have "
            "ended before its gates, or used another data_dir. `bkt report` shows the "
            "newest run here."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts of one run: its request, its scores, how it ended."""

    run_id: str
    kind: str
    status: str  # "judged" until the run has ended
    started_at: str  # ISO 8601
    finished_at: str | None
    #: Data digest, window, algorithm version, engine, package version, git commit, trigger.
    tags: Mapping[str, str]
    settings: Mapping[str, str]  # flat, without secrets
    defaults: Mapping[str, float]
    mastery_threshold: float
    scores: PooledScores
    #: The object of `bkt retrain --json`; empty until the run has ended.
    summary: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return a short name for people: kind, day, start of the id.

        The day is that of the start; for a step of a backfill, it is the day that it fits.
        """
        about = self.started_at[:16].replace("T", " ")
        if self.tags.get("parent_run") and self.tags["until"]:
            last = datetime.fromisoformat(self.tags["until"]) - timedelta(microseconds=1)
            about = f"until {last:%Y-%m-%d}"
        return f"{self.kind} {about} ({self.run_id[:8]})"

    @property
    def promotes(self) -> bool:
        """Whether winners are put in force; a trial or a dry run only reports who would win."""
        return self.kind == "retrain" and self.tags.get("dry_run") != "true"

    def decided(self, decision: str) -> str:
        """Return a decision in words: "would be promoted" if no row is written.

        Winners of a candidate become its rows, which serve nobody: "promoted under v2".
        """
        if decision != "promoted" or self.promotes:
            return decision
        if self.kind == "candidate":
            return f"promoted under {self.tags['algo_version']}"
        return "would be promoted"


@dataclass(frozen=True, slots=True, eq=False)
class RunEvidence:
    """Everything that reports and MLflow show of one run."""

    facts: RunFacts
    concepts: pl.DataFrame  # one row per concept
    checks: pl.DataFrame  # one row per check
    curves: pl.DataFrame  # one row per concept and opportunity


def gather_evidence(
    verdicts: Sequence[Verdict],
    *,
    run_id: str,
    kind: str,
    started_at: datetime,
    algo: AlgoParams,
    tags: Mapping[str, str],
    settings: Mapping[str, Any],
    origins: Mapping[str, str],
    errors: Mapping[str, str],
) -> RunEvidence:
    """Convert the verdicts of a run to tables and facts.

    `origins` has the source of each concept's fit, `errors` the reason of each failure.
    """
    facts = RunFacts(
        run_id=run_id,
        kind=kind,
        status="judged",
        started_at=started_at.isoformat(),
        finished_at=None,
        tags=dict(tags),
        settings=flatten(settings),
        defaults=algo.defaults.as_dict(),
        mastery_threshold=algo.mastery_threshold,
        scores=pooled_scores([verdict.evidence for verdict in verdicts]),
        summary={},
    )
    concepts = concept_table(verdicts, algo=algo, origins=origins, errors=errors)
    return RunEvidence(facts, concepts, check_table(verdicts), curve_table(verdicts))


def finished(
    evidence: RunEvidence,
    *,
    status: str,
    finished_at: datetime,
    summary: Mapping[str, Any],
    kept_after_all: Mapping[str, str],
) -> RunEvidence:
    """Return the evidence with the end of the run.

    `kept_after_all` has the winners whose switch was refused, with the reason.
    """
    facts = replace(
        evidence.facts,
        status=status,
        finished_at=finished_at.isoformat(),
        summary=dict(summary),
    )
    refused = pl.col("concept_id").is_in(list(kept_after_all))
    why = pl.col("concept_id").replace_strict(dict(kept_after_all), default=None)
    concepts = evidence.concepts.with_columns(
        pl.when(refused).then(pl.lit("kept")).otherwise("decision").alias("decision"),
        pl.when(refused).then(why).otherwise("reason").alias("reason"),
    )
    return RunEvidence(facts, concepts, evidence.checks, evidence.curves)


def write_evidence(folder: Path, evidence: RunEvidence) -> None:
    """Write the evidence of a run; each file is written atomically."""
    write_frame(folder / CONCEPTS, evidence.concepts)
    write_frame(folder / CHECKS, evidence.checks)
    write_frame(folder / CURVES, evidence.curves)
    write_json(folder / FACTS, asdict(evidence.facts))


def read_evidence(folder: Path) -> RunEvidence:
    """Read the evidence that `write_evidence` wrote.

    Raises `RunFilesMissingError` if the folder has no evidence.
    """
    if not (folder / FACTS).is_file():
        raise RunFilesMissingError(run_id=folder.name, folder=folder)
    values = read_json(folder / FACTS)
    facts = RunFacts(**values | {"scores": _scores_from_json(values["scores"])})
    return RunEvidence(
        facts,
        pl.read_parquet(folder / CONCEPTS),
        pl.read_parquet(folder / CHECKS),
        pl.read_parquet(folder / CURVES),
    )


def evidence_files(folder: Path) -> list[Path]:
    """Return the files of a run that may leave this machine: none contains user ids."""
    names = (FACTS, CONCEPTS, CHECKS, CURVES, PAGE, DATA_PAGE)
    kept = [folder / name for name in names if (folder / name).is_file()]
    return kept + sorted((folder / FIGURES).glob("*.svg"))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to dotted names with texts."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _scores_from_json(values: dict[str, Any]) -> PooledScores:
    def one(scores: dict[str, Any] | None) -> Scores | None:
        return None if scores is None else Scores.from_json(scores)

    return PooledScores(
        pooled=one(values["pooled"]),
        by_fold=tuple(one(scores) for scores in values["by_fold"]),
        log_loss_of={name: tuple(pair) for name, pair in values["log_loss_of"].items()},
        calibration=tuple(tuple(row) for row in values["calibration"]),
        bounds=tuple(BoundCost(**row) for row in values["bounds"]),
    )

"""Small concepts of a night are drawn towards what its large ones have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest

from bkt_settings.pipeline import EngineName
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import algorithm
from datasets.store.params.skill_params import active_params
from datasets.store.runs.runs import list_runs
from datasets.synthetic import SimulationPlan, write_simulation
from flows.evidence.evidence import read_evidence
from flows.evidence.sentences import summary_sentences
from flows.nightly import nightly
from flows.runs.requests import FitRequest, RetrainRequest
from flows.trial_fit import trial_fit

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


def add(engine: Engine, home: Path, log: pl.DataFrame) -> None:
    """Import a part of the log."""
    path = home / "part.parquet"
    log.write_parquet(path)
    import_file(engine, path, ImportOptions(), quarantine_root=home / "q", at=datetime.now(UTC))


@pytest.fixture
def log(
    tracked_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> pl.DataFrame:
    """Twelve concepts of 300 attempts and more, and one of a few users in the database."""
    url = sqlite_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    path = tracked_home / "attempts.parquet"
    write_simulation(path, SimulationPlan(n_concepts=13, n_users=140, seed=7))
    whole = pl.read_parquet(path)
    users = whole["user_id"].unique().sort().head(12)
    few = (pl.col("concept_id") != "concept-001") | pl.col("user_id").is_in(users.implode())
    kept = whole.filter(few)
    sizes = dict(kept.group_by("concept_id").len().iter_rows())
    assert sizes.pop("concept-001") < 100
    assert min(sizes.values()) >= 300
    return kept


def test_small_concepts_are_drawn_to_the_prior_of_their_night(
    log: pl.DataFrame, tracked_home: Path, sqlite_engine: Engine
):
    """Told in the evidence; a second night is unchanged; off or pyBKT, nothing is drawn."""
    add(sqlite_engine, tracked_home, log)
    first = nightly(RetrainRequest())
    evidence = read_evidence(tracked_home / "runs" / first.run_id)
    assert evidence.concepts["engine"].unique().to_list() == ["em+prior"]
    told = " ".join(summary_sentences(evidence))
    assert "13 of 13 fits" in told
    assert "L0 " in told
    assert nightly(RetrainRequest()).status == "unchanged"
    own = trial_fit(
        FitRequest(engine=EngineName.PYBKT, concepts=("concept-001",)),
    )
    concepts = read_evidence(tracked_home / "runs" / own.run_id).concepts
    assert concepts["engine"].to_list() == ["pybkt"]


def test_a_prior_that_moved_does_not_refit_a_concept_without_news(
    log: pl.DataFrame, tracked_home: Path, sqlite_engine: Engine
):
    """Half of two teachers comes a night later: they are fitted again, the small one is not."""
    late = pl.col("concept_id").is_in(["concept-002", "concept-003"]) & (
        pl.col("attempt_id") % 2 == 0
    )
    add(sqlite_engine, tracked_home, log.filter(~late))
    first = nightly(RetrainRequest())
    before = read_evidence(tracked_home / "runs" / first.run_id)
    small = before.concepts.filter(pl.col("concept_id") == "concept-001")
    add(sqlite_engine, tracked_home, log.filter(late))
    second = nightly(RetrainRequest())
    after = read_evidence(tracked_home / "runs" / second.run_id)
    priors = [
        {k: v for k, v in one.facts.settings.items() if k.startswith("prior.")}
        for one in (before, after)
    ]
    assert priors[0] != priors[1]
    origins = dict(after.concepts.select("concept_id", "origin").iter_rows())
    assert origins["concept-002"] == origins["concept-003"] == "fitted"
    assert small["decision"].item() == "promoted"
    assert origins["concept-001"] == "kept"


def test_every_fit_of_a_version_that_forgets_is_drawn_to_the_prior_of_its_run(
    log: pl.DataFrame, tracked_home: Path, sqlite_engine: Engine
):
    """Told in the evidence, part of the fits' names; pyBKT is a second opinion without it."""
    add(sqlite_engine, tracked_home, log)
    first = trial_fit(FitRequest(algo="v3"))
    evidence = read_evidence(tracked_home / "runs" / first.run_id)
    fitted = evidence.concepts.filter(pl.col("auc").is_not_null())
    assert fitted["engine"].unique().to_list() == ["map"]
    assert fitted["p_F"].is_between(0.0, 0.1).all()
    told = {name for name in evidence.facts.settings if name.startswith("prior.")}
    assert told == {f"prior.p_{letter}" for letter in ("L0", "T", "S", "G", "F")}
    again = trial_fit(FitRequest(algo="v3"))
    assert again.concepts.fitted == 0
    asked = FitRequest(algo="v3", engine=EngineName.PYBKT, concepts=("concept-001",))
    own = read_evidence(tracked_home / "runs" / trial_fit(asked).run_id)
    assert own.concepts["engine"].to_list() == ["pybkt"]
    assert own.concepts["p_F"].null_count() == 0
    assert not any(name.startswith("prior.") for name in own.facts.settings)


def test_a_night_under_a_version_that_forgets_keeps_what_has_no_news(
    log: pl.DataFrame,
    tracked_home: Path,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
):
    """As a candidate beside v1: promoted under its name, then unchanged; its prior moves."""
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["v3"]')
    late = (pl.col("concept_id") == "concept-002") & (pl.col("attempt_id") % 2 == 0)
    add(sqlite_engine, tracked_home, log.filter(~late))
    nightly(RetrainRequest())
    with reading(sqlite_engine) as conn:
        v3 = algorithm(conn, "v3")
        before = active_params(conn, v3.id)
    assert len(before) > 10
    assert all(row.params.p_F is not None for row in before.values())
    folds = [fold for row in before.values() for fold in row.metrics["fold_params"] if fold]
    assert {len(fold) for fold in folds} == {5}
    add(sqlite_engine, tracked_home, log.filter(late))
    nightly(RetrainRequest())
    with reading(sqlite_engine) as conn:
        after = active_params(conn, v3.id)
        runs = list(list_runs(conn, kind="candidate"))
    assert len(runs) == 2
    assert {name for name in after if after[name] != before.get(name)} <= {"concept-002"}
    origins = dict(
        read_evidence(tracked_home / "runs" / runs[0].run_id)
        .concepts.select("concept_id", "origin")
        .iter_rows()
    )
    assert origins["concept-002"] == "fitted"
    assert {origins[name] for name in before if name != "concept-002"} == {"kept"}

"""`bkt algo compare`: its figures against an independent computation, and what it leaves."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING

import polars as pl
import pytest
from rich.console import Console
from sqlalchemy import text

from bkt_core.errors import UsageError
from bkt_core.evaluation.paired_scores import SCORES
from bkt_core.judgement.versions import Source
from bkt_settings.pipeline import load_settings
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import reading
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import active_algorithm
from datasets.store.runs.runs import RunStatus, list_runs
from flows.cli.app import run
from flows.reports.versions import show_versions
from flows.runs.requests import CompareRequest
from tests.oracles.family import FORGETTING, trace
from tests.oracles.held_out import held_out, scores
from tests.oracles.replay import DEFAULTS, mastery

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from flows.compare_versions import Compared
    from tests.oracles.held_out import Fit, Log

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
#: v2 calls users masters from the same probability on.
THRESHOLD = 0.95


def compared(b: str = "v2", **asked: object) -> Compared:
    from flows.compare_versions import compare_versions

    return compare_versions(CompareRequest(a="v1", b=b, **asked))


def log_of(engine: Engine) -> Log:
    """(concept, user) -> outcomes in canonical order."""
    log: Log = {}
    with reading(engine) as conn:
        for row in conn.execute(text("SELECT * FROM attempts ORDER BY attempted_at, id")):
            own = log.setdefault(row.concept_id, {}).setdefault(row.user_id, [])
            own.append(row.correct)
    return log


def fits_of(folder: Path, version: str) -> dict[str, Fit]:
    """The fits that a comparison rests on, as its files have them."""
    fits: dict[str, Fit] = {}
    for file in (folder / f"shards-{version}").glob("*.json"):
        for work in json.loads(file.read_text("utf-8"))["works"]:
            found = work["evidence"]["fit"]["evidence"]
            if found is None:
                continue
            letters = [
                None
                if one is None
                else tuple(one["params"][x] for x in FORGETTING if x in one["params"])
                for one in (*found["fold_fits"], found["final"])
            ]
            fits[work["concept_id"]] = (letters[:-1], letters[-1])
    return fits


def assert_independent(engine: Engine, done: Compared) -> None:
    """Every pooled figure, every concept's losses, everybody's crossing, by plain Python."""
    settings, log = load_settings(), log_of(engine)
    folder = settings.data_dir / "runs" / done.run_id
    a, b = fits = [fits_of(folder, v) for v in (done.comparison.a, done.comparison.b)]
    assert a.keys() == b.keys()
    sides = [held_out(log, of_version, seed=settings.fit.seed) for of_version in fits]
    keys = sorted(sides[0].keys() & sides[1].keys())
    right = {key: log[key[0]][key[1]][key[2]] for key in keys}
    found = done.comparison
    assert found.pooled.n_attempts == len(keys)
    for letter, side in zip("ab", sides, strict=True):
        own = scores([(key[0], right[key], side[key]) for key in keys])
        for name in SCORES:
            assert getattr(found.pooled.scores[name], letter) == pytest.approx(
                own[name], abs=1e-12
            )
    gains: dict[str, list[float]] = {}
    for key in keys:
        a, b = ((side[key] if right[key] else 1 - side[key]) for side in sides)
        gains.setdefault(key[0], []).append(math.log(b) - math.log(a))
    for concept, gain in found.concepts.select("concept_id", "gain").iter_rows():
        own_gain = math.fsum(gains[concept]) / len(gains[concept])
        assert gain == pytest.approx(own_gain, abs=1e-12)
    assert_moves(log, fits, done)


def known_after(outcomes: list[int], params: tuple[float, ...]) -> float:
    """Mastery after the last attempt; five values forget."""
    if len(params) == len(FORGETTING):
        return trace(outcomes, params)[-1][0]
    return mastery(outcomes, params)


def assert_moves(log: Log, fits: list[dict[str, Fit]], done: Compared) -> None:
    """Who crosses, by the replay of everybody under both."""
    states = {
        (user, concept): [
            known_after(outcomes, own_fits.get(concept, ([], DEFAULTS))[1]) for own_fits in fits
        ]
        for concept, own in log.items()
        if concept in fits[0]
        for user, outcomes in own.items()
    }
    crossing = {
        key: pair
        for key, pair in states.items()
        if (pair[0] >= THRESHOLD) != (pair[1] >= THRESHOLD)
    }
    found = done.comparison
    listed = {(row[0], row[1]): list(row[2:]) for row in found.crossings.iter_rows()}
    assert listed == crossing
    moves = found.moves
    assert moves.states == len(states)
    assert moves.users_crossing == len({user for user, _ in crossing})
    assert moves.up == sum(b >= THRESHOLD for _, b in crossing.values())
    assert moves.up + moves.down == len(crossing)
    sizes = [abs(b - a) for a, b in states.values()]
    assert moves.mean_move == pytest.approx(math.fsum(sizes) / len(sizes), abs=1e-12)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_figures_are_those_of_an_independent_computation(night: Engine, version: str):
    """Each version is predicted and replayed by its own fits, also where one forgets."""
    done = compared(version)
    assert_independent(night, done)
    found = done.comparison
    assert found.concepts.height == 5
    assert found.at_same_defaults == 2  # tiny, and all right
    assert found.count("b", Source.FITTED) == 5
    assert ("p_F" in found.letters) == (version == "v3")


@pytest.mark.parametrize("name", ["algebra05_114u", "assist0910_builder_train"])
def test_figures_on_real_logs_are_those_of_an_independent_computation(
    name: str,
    benchmark_data: Path,
    tracked_home: Path,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("BKT_DATABASE_URL", str(sqlite_engine.url))
    import_file(
        sqlite_engine,
        benchmark_data / f"{name}.parquet",
        ImportOptions(),
        quarantine_root=tracked_home / "q",
        at=datetime.now(UTC),
    )
    assert_independent(sqlite_engine, compared())


def test_it_is_kept_as_files_as_a_run_and_in_mlflow_and_changes_nothing(
    night: Engine, tracked_home: Path
):
    from mlflow.tracking import MlflowClient  # noqa: TID251 - the store is read back

    done = compared()
    with reading(night) as conn:
        (row,) = list_runs(conn, kind="compare")
        assert active_algorithm(conn).version == "v1"
        assert conn.execute(text("SELECT count(*) FROM bkt_skill_params")).scalar_one() == 0
    assert row.status is RunStatus.DONE
    kept = row.manifest["outcome"]["comparison"]
    assert kept["scores"]["auc"]["b"] == done.comparison.pooled.scores["auc"].b
    folder = tracked_home / "runs" / done.run_id
    assert pl.read_parquet(folder / "versions.parquet").equals(done.comparison.concepts)
    assert json.loads((folder / "versions.json").read_text())["comparison"] == kept
    assert done.problem is None
    logged = MlflowClient(load_settings().tracking_uri).get_run(done.mlflow_run_id)
    assert logged.data.metrics["pooled_auc"] == done.comparison.pooled.scores["auc"].b
    assert logged.data.metrics["rival_pooled_auc"] == done.comparison.pooled.scores["auc"].a
    tags = logged.data.tags
    assert (tags["bkt.role"], tags["bkt.algo_version"]) == ("comparison", "v2")
    assert tags["bkt.rival_version"] == "v1"
    users = {user for own in log_of(night).values() for user in own}
    page = done.page.read_text("utf-8")
    assert not any(f'"{user}"' in page for user in users)


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_shows_every_score_inside_its_width(sqlite_night: Engine, width: int):
    del sqlite_night
    done = compared(concepts=("concept-001", "concept-002"))
    console = Console(width=width, record=True, file=StringIO())
    show_versions(console, done.comparison)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    for title in ("log loss", "AUC within concepts", "calibration error"):
        assert any(line.startswith(title) for line in lines)


def test_rows_in_force_are_compared_by_what_they_had_without_each_fold(sqlite_night: Engine):
    """Without any rows both versions are at the same defaults: nothing is compared."""
    del sqlite_night
    found = compared(in_force=True).comparison
    assert (found.pooled.n_attempts, found.at_same_defaults) == (0, 7)
    assert found.pooled.scores["auc"].a is None


def test_a_version_that_is_not_there_or_twice_the_same_is_refused(sqlite_night: Engine):
    from flows.compare_versions import compare_versions

    with pytest.raises(UsageError, match="twice"):
        CompareRequest(a="v1", b="v1").check()
    with pytest.raises(UnknownAlgorithmError, match="v9"):
        compare_versions(CompareRequest(a="v1", b="v9"))
    with reading(sqlite_night) as conn:
        assert list_runs(conn) == ()
    assert run(["algo", "compare", "v1", "v1"]) == 2

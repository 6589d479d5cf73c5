"""What `bkt status` and `bkt doctor` say about algorithm versions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from bkt_settings.pipeline import load_settings
from datasets.store.params.versions import retire_version
from datasets.store.runs.runs import RunStatus, finish_run, start_run
from flows.cli.operations.status import show_status
from flows.health.findings import Level
from flows.health.status import gather_status
from flows.health.versions import examine_versions
from tests.datasets.store.params.test_activation import fit_v2, flip
from tests.moments import STARTED

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings

pytestmark = pytest.mark.usefixtures("no_server")


def shown() -> str:
    found = gather_status(load_settings(), n_runs=5)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(width=120, record=True, file=nowhere)
        show_status(console, found)
        return console.export_text()


def test_candidates_are_told_with_their_rows_and_whether_nights_fit_them(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    (finding,) = examine_versions(settings)
    assert (finding.level, finding.message) == (Level.OK, "v1 is in force")
    assert "CANDIDATE" not in shown()
    fit_v2(engine, "a")
    assert "v2 CANDIDATE, 1 concepts, not fitted by nights" in shown()
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["v2", "v1"]')
    assert "v2 CANDIDATE, 1 concepts, fitted in each night" in shown()
    (finding,) = examine_versions(load_settings())
    assert finding.message == "v1 is in force; nights also fit v2"
    told = gather_status(load_settings(), n_runs=1).as_json()["versions"]
    in_nights = {one["version"]: one["in_nights"] for one in told}
    others = dict.fromkeys(("v3", "v4", "v5"), False)
    assert in_nights == {"v1": True, "v2": True} | others


def test_a_candidate_that_no_night_can_fit_is_a_fault(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    del settings
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["v9", "v2"]')
    with engine.begin() as conn:
        retire_version(conn, "v2")
    found = list(examine_versions(load_settings()))
    assert {one.level for one in found} == {Level.FAIL}
    assert ["no such version" in found[0].message, "retired" in found[1].message] == [True] * 2


def test_an_activation_that_was_killed_behind_its_flip_is_told_until_it_is_finished(
    settings: Settings, engine: Engine
):
    flip(engine, "v2")
    with engine.begin() as conn:
        manifest = {"asked": {"version": "v2"}}
        start_run(conn, run_id="died", kind="activate", at=STARTED, manifest=manifest)
        finish_run(conn, run_id="flip-1", status=RunStatus.DONE, at=STARTED)
    (finding,) = examine_versions(settings)
    assert finding.level is Level.WARN
    assert "bkt algo activate v2" in finding.remedy
    assert "activation of v2 must be finished" in shown()
    with engine.begin() as conn:
        finish_run(conn, run_id="died", status=RunStatus.DONE, at=STARTED)
    (finding,) = examine_versions(settings)
    assert finding.level is Level.OK

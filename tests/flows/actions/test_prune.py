"""Retention takes what is old and nobody needs; nothing where the database does not answer."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_settings.pipeline import load_settings
from datasets.store.errors import DatabaseError
from flows.actions.prune import prune_everything
from tests.datasets.store.writing import promote

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

DAY = 86_400


def made(path: Path, *, days_ago: int) -> Path:
    """A folder, or a file where the name says so, last written to so long ago."""
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    else:
        path.mkdir(parents=True)
        (path / "rows.parquet").write_bytes(b"")
    then = time.time() - days_ago * DAY
    os.utime(path, (then, then))
    return path


@pytest.fixture
def home(bkt_home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BKT_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    return bkt_home


def test_what_is_old_goes_and_what_is_young_or_in_force_stays(home: Path, engine: Engine):
    promote(engine, "run-1", "fractions")
    metrics = '{"fit_key": "abc1"}'
    with engine.begin() as conn:
        conn.execute(text("UPDATE bkt_skill_params SET metrics = :m"), {"m": metrics})
    gone = [
        made(home / "runs" / "old", days_ago=91),
        made(home / "quarantine" / "import-old", days_ago=91),
        made(home / "fits" / "de" / "def2.json", days_ago=91),
    ]
    kept = [
        made(home / "runs" / "young", days_ago=89),
        made(home / "quarantine" / "import-young", days_ago=89),
        made(home / "fits" / "de" / "def3.json", days_ago=89),
        made(home / "fits" / "ab" / "abc1.json", days_ago=400),
    ]
    counts = prune_everything(load_settings())
    assert [path.exists() for path in gone] == [False] * 3
    assert [path.exists() for path in kept] == [True] * 4
    assert (counts["runs"], counts["quarantines"], counts["fits"]) == (1, 1, 1)
    assert not any(prune_everything(load_settings()).values())


def test_nothing_goes_where_the_database_does_not_answer(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BKT_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    old = made(bkt_home / "runs" / "old", days_ago=400)
    with pytest.raises(DatabaseError):
        prune_everything(load_settings())
    assert old.exists()


def test_retention_of_an_empty_folder_is_nothing(home: Path):
    assert home.is_dir()
    assert not any(prune_everything(load_settings()).values())

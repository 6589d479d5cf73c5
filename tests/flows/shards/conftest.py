"""The run over shards that tests of their runners share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flows.support.shard_worlds import World, make_world

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture
def world(tracked_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> World:
    """One concept with a third of all attempts among six others."""
    return make_world(tracked_home, sqlite_engine, monkeypatch)

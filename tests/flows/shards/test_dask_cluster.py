"""A Dask cluster that differs from the run is refused before any work goes to it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from bkt_core.errors import BktError
from bkt_settings.pipeline import load_settings
from flows.shards import dask_cluster
from tests.flows.support.dask_processes import PATIENCE, cluster
from tests.flows.support.shard_worlds import World, on

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_cluster_that_is_not_like_us_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """No scheduler, no worker, another version, a folder that is not there: in words."""
    monkeypatch.setattr(dask_cluster, "ANSWER_SECONDS", 2)
    nowhere = on(world.settings, "dask", "tcp://127.0.0.1:9")
    with pytest.raises(BktError, match=r"must answer at tcp://127\.0\.0\.1:9"):
        dask_cluster.require_same_versions(nowhere)
    with (
        cluster(0, world.settings.data_dir) as address,
        pytest.raises(BktError, match="must have a worker"),
    ):
        dask_cluster.require_same_versions(on(world.settings, "dask", address))
    monkeypatch.setattr(dask_cluster, "ANSWER_SECONDS", PATIENCE)
    with cluster(1, world.settings.data_dir) as address:
        settings = on(world.settings, "dask", address)
        dask_cluster.require_same_versions(settings)
        dask_cluster.require_same_files(settings, world.extract.root)
        with pytest.raises(BktError, match=r"must see .*elsewhere"):
            dask_cluster.require_same_files(settings, tmp_path / "elsewhere")
        other = {"numpy": version("numpy"), "bkt-pipeline": "9.9"}
        monkeypatch.setattr(dask_cluster, "own_versions", lambda: other)
        with pytest.raises(BktError, match=r"bkt-pipeline 9\.9, as this run has; tcp://"):
            dask_cluster.require_same_versions(settings)
    dask_cluster.require_same_versions(on(world.settings, "threads"))


def test_dask_and_its_address_go_together(bkt_home: Path, monkeypatch: pytest.MonkeyPatch):
    """One without the other is a mistake that is said at the door."""
    assert bkt_home.is_dir()
    for name, value in (("RUNNER", "dask"), ("DASK_ADDRESS", "tcp://127.0.0.1:8786")):
        with monkeypatch.context() as patch:
            patch.setenv(f"BKT_RUN__{name}", value)
            with pytest.raises(BktError, match="go together"):
                load_settings()

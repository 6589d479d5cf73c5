"""Check the configured Dask cluster before a run: its versions and its access to files."""

from __future__ import annotations

import os.path
import platform
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast

from bkt_core.errors import BktError
from bkt_settings.pipeline import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributed import Client

    from bkt_settings.pipeline import Settings

#: Seconds for the scheduler to answer and for a first worker to be available.
ANSWER_SECONDS = 20
#: Packages whose versions affect the bits of a fit or the connection to the flow.
PACKAGES = ("bkt-pipeline", "numpy", "numba", "prefect")


class ClusterError(BktError):
    """The Dask cluster cannot process the shards of this run."""


def require_same_versions(settings: Settings) -> None:
    """Raise `ClusterError` if the cluster does not answer or workers have other versions."""
    if settings.run.runner is not Runner.DASK:
        return
    with _connected(settings.run.dask_address) as client:
        _compare("Python", platform.python_version(), client.run(platform.python_version))
        for package, ours in own_versions().items():
            # A function of the standard library exists on every worker.
            _compare(package, ours, client.run(version, package, on_error="return"))


def require_same_files(settings: Settings, folder: Path) -> None:
    """Raise `ClusterError` if workers cannot see the folder with the shards."""
    if settings.run.runner is not Runner.DASK:
        return
    with _connected(settings.run.dask_address) as client:
        found = client.run(os.path.isdir, str(folder.absolute()))
    blind = sorted(worker for worker, sees in found.items() if not sees)
    if blind:
        raise ClusterError(
            f"Every worker must see {folder.absolute()}, {blind[0]} does not "
            f"({len(blind)} of {len(found)}); mount data_dir under the same path everywhere."
        )


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    connect = cast("Callable[..., Client]", Client)  # its signature has no annotations
    try:
        client = connect(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"The Dask scheduler must answer at {address} within {ANSWER_SECONDS} s, but did "
            f"not ({error}); check run.dask_address and that it runs."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError as error:
            raise ClusterError(
                f"The Dask cluster at {address} must have a worker, but has none; start one "
                f"with `dask worker {address}`."
            ) from error
        yield client


def own_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages in this process."""
    return {package: version(package) for package in PACKAGES}


def _compare(name: str, ours: str, found: dict[str, Any]) -> None:
    for worker, theirs in sorted(found.items()):
        if theirs != ours:
            has = "none" if isinstance(theirs, PackageNotFoundError) else theirs
            raise ClusterError(
                f"Every worker must have {name} {ours}, as this run has; {worker} has {has}. "
                "Install requirements.lock and this package there, and start it again."
            )

"""Checks of `bkt doctor` on the machine: Python, packages, disks, files, compiled kernels."""

from __future__ import annotations

import os
import platform
import shutil
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from sqlalchemy import make_url

from bkt_settings.home import HOME
from flows.health.findings import fail, ok, warn
from flows.health.kernels import cached_kernels
from flows.runs.compiled import is_compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bkt_settings.pipeline import Settings
    from flows.health.findings import Examination, Finding

PROJECT, LOCK = HOME / "pyproject.toml", HOME / "requirements.lock"
GIB = 2**30
#: Most packages named in one line.
NAMED = 4


def examine_python(settings: Settings) -> Iterator[Finding]:
    """Compare the interpreter with the required version."""
    del settings
    wanted, own = _project()["requires-python"], platform.python_version()
    if SpecifierSet(wanted).contains(own, prereleases=True):
        yield ok("python", f"{own}, as required ({wanted})")
    else:
        yield fail(
            "python", f"{own}, but {wanted} is required",
            "Make the environment again with a Python of that version.",
        )  # fmt: skip


def examine_packages(settings: Settings) -> Iterator[Finding]:
    """Compare installed packages with the project's bounds and with the lock file."""
    del settings
    broken = [problem for problem in map(_out_of_bounds, _project()["dependencies"]) if problem]
    if broken:
        yield fail(
            "packages", _listed(broken),
            "Run `make install`: these versions are known not to work together.",
        )  # fmt: skip
        return
    locked = _locked()
    installed = {name: _version_of(name) for name in locked}
    strange = [
        f"{name} {installed[name] or 'is missing'} (locked: {wanted})"
        for name, wanted in locked.items()
        if installed[name] != wanted
    ]
    if strange:
        yield warn(
            "packages", f"{len(strange)} of {len(locked)} differ from {LOCK.name}: "
            f"{_listed(strange)}",
            "Run `make install` to have the versions that were tested.",
        )  # fmt: skip
    else:
        yield ok("packages", f"{len(locked)} as in {LOCK.name}")


def examine_data_dir(settings: Settings) -> Iterator[Finding]:
    """Check that runs can write their files."""
    folder = settings.data_dir
    if not folder.exists():
        parent = next(p for p in folder.resolve().parents if p.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok("data folder", f"{folder} does not exist yet and can be created")
        else:
            yield fail(
                "data folder", f"{folder} does not exist and {parent} cannot be written",
                "Give the account that runs `bkt` write permission, or set BKT_DATA_DIR.",
            )  # fmt: skip
        return
    probe = folder / f".doctor-{uuid4().hex}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        yield fail(
            "data folder", f"{folder} cannot be written ({error.strerror})",
            "Give the account that runs `bkt` write permission, or set BKT_DATA_DIR.",
        )  # fmt: skip
    else:
        yield ok("data folder", f"{folder} can be written")


def examine_disks(settings: Settings) -> Iterator[Finding]:
    """Check that each disk that a run writes to has room for the next run."""
    least = settings.doctor.min_free_gib
    for device, folder in _disks(settings).items():
        del device
        free = shutil.disk_usage(folder).free / GIB
        space = f"{free:,.1f} GiB free at {folder}"
        if free >= least:
            yield ok("disk", space)
        else:
            yield fail(
                "disk", f"{space}, less than the {least:g} of [doctor] min_free_gib",
                "Run `bkt prune`, or give the disk more room before the next night.",
            )  # fmt: skip


def examine_kernels(settings: Settings) -> Iterator[Finding]:
    """Check that kernels are compiled, and that the cache can be written."""
    del settings
    cached = cached_kernels()
    ready = sum(map(is_compiled, cached))
    folders = sorted({Path(one.stats.cache_path) for one in cached})
    closed = [folder for folder in folders if not _can_be_written(folder)]
    if closed:
        yield fail(
            "kernels", f"compiled code cannot be kept in {closed[0]}",
            "Set NUMBA_CACHE_DIR to a folder that can be written.",
        )  # fmt: skip
    elif not ready:
        yield warn(
            "kernels", f"none of {len(cached)} is compiled yet; kept in {folders[0]}",
            "Nothing to do: the first run compiles them, which takes half a minute, once.",
        )  # fmt: skip
    else:
        yield ok("kernels", f"{ready} of {len(cached)} compiled, kept in {folders[0]}")


def _project() -> dict[str, Any]:
    """Return the `[project]` table from which this checkout was installed."""
    project: dict[str, Any] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return project


def _out_of_bounds(requirement: str) -> str | None:
    wanted = Requirement(requirement)
    found = _version_of(wanted.name)
    if found is None:
        return f"{wanted.name} is missing"
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"{wanted.name} {found}, but {wanted.specifier} is required"


def _locked() -> dict[str, str]:
    """Return name and version of each pin of the lock file that applies here."""
    locked: dict[str, str] = {}
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum() and "==" in line:
            wanted = Requirement(line.rstrip("\\ "))
            if wanted.marker is None or wanted.marker.evaluate():
                locked[wanted.name] = str(wanted.specifier).removeprefix("==")
    return locked


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more


def _disks(settings: Settings) -> dict[int, Path]:
    """Return one folder per device: of the data folder and of a SQLite database."""
    folders = [settings.data_dir.resolve()]
    address = make_url(settings.database)
    if address.get_backend_name() == "sqlite" and address.database:
        folders.append(Path(address.database).resolve().parent)
    there = [next(p for p in (f, *f.parents) if p.exists()) for f in folders]
    return {folder.stat().st_dev: folder for folder in reversed(there)}


def _can_be_written(folder: Path) -> bool:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    return os.access(there, os.W_OK | os.X_OK)


MACHINE: dict[str, Examination] = {
    "python": examine_python,
    "packages": examine_packages,
    "data folder": examine_data_dir,
    "disk": examine_disks,
    "kernels": examine_kernels,
}

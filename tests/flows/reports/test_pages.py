"""Every command that a page shows is run, in order; links lead somewhere."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.cli.app import build_app
from tests.flows.support.forked_bkt import forking, write_program
from tests.flows.support.pages import PAGES, ROOT, blocks_of, page_before, script_of

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNABLE = [p for p in PAGES if any(b.skipped is None for b in blocks_of(p))]
PAGE_SECONDS = 400


def test_a_block_that_is_not_run_says_why():
    """In more than a word; and pages with commands were found at all."""
    skipped = [b.skipped for page in PAGES for b in blocks_of(page) if b.skipped is not None]
    assert all(len(why.split()) >= 3 for why in skipped)
    names = {page.name for page in RUNNABLE}
    assert {"quickstart.md", "guide-operator.md", "guide-data-scientist.md"} <= names
    assert "runbook.md" in names


def test_every_command_is_told_on_the_page_of_commands():
    """A command that is added is added there."""
    told = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    own = [name for name in build_app() if not name.startswith("-")]
    assert len(own) > 15
    assert [name for name in own if f"`bkt {name}" not in told] == []


def test_every_exit_code_is_told():
    """On the page of commands and in the runbook."""
    for name in ("command-line.md", "runbook.md"):
        told = (ROOT / "docs" / name).read_text(encoding="utf-8")
        for code in (1, 2, 3, 4, 5, 6, 130):
            assert f"\n| {code} |" in told, (name, code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path):
    """Of this repository; what is outside is not looked at."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_no_page_cites_what_is_not_in_the_repository():
    """The contract by its old name, in code or docs."""
    name = "DES" + "IGN"
    for folder in ("bkt_core", "bkt_settings", "datasets", "flows", "serving", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md"):
                assert f"{name} section" not in path.read_text(encoding="utf-8"), path


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_tracking_store: Path,
    prefect_server: None,
) -> Iterator[dict[Path, Path]]:
    """Where each page has been lived; a page after another begins with a copy of its folder."""

    class Folders(dict):
        def __missing__(self, page: Path) -> Path:
            folder = tmp_path_factory.mktemp(page.stem)
            before = page_before(page)
            if before is not None:
                shutil.copytree(self[before], folder, dirs_exist_ok=True)
            else:
                (folder / "var").mkdir()
                shutil.copy(migrated_tracking_store, folder / "var" / "mlflow.db")
            self[page] = folder
            live(page, folder, listening)
            return folder

    assert prefect_server is None
    listening = tmp_path_factory.mktemp("bkt") / "socket"
    with forking(listening, readers_environment()):
        yield Folders()


def readers_environment() -> dict[str, str]:
    """What others deployed to our Prefect server is not the reader's, but it saves them one."""
    from prefect.settings import PREFECT_API_URL

    own = {k: v for k, v in os.environ.items() if not k.startswith("BKT_")}
    return own | {
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }


def live(page: Path, folder: Path, listening: Path) -> None:
    """Run a page from top to bottom in its folder; what it starts ends with it."""
    port, programs = str(free_port()), folder / ".bin"
    write_program(programs, listening)
    told = folder / "told.log"  # not a pipe: what a page leaves running would hold it open
    with told.open("wb") as output:
        child = subprocess.Popen(
            ["bash", "-c", script_of(page).replace("8210", port)],
            cwd=folder,
            env=readers_environment()
            | {
                "BKT_SERVING__PORT": port,
                "PATH": os.pathsep.join(
                    map(str, (programs, Path(sys.executable).parent, os.environ["PATH"]))
                ),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        child.wait(timeout=PAGE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0, told.read_text()[-6000:]


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.harness
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_every_command_of_a_page_does_what_it_says(page: Path, folders: dict[Path, Path]):
    """In order, in a folder of its own, each returning 0."""
    assert folders[page].is_dir()

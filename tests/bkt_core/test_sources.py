"""The digest of the code that makes fits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import bkt_core
from bkt_core.sources import sources_digest

DIGEST = "from bkt_core.sources import sources_digest; print(sources_digest(), end='')"


def _digest_in(folder: Path) -> str:
    told = [sys.executable, "-c", DIGEST]
    return subprocess.run(told, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_it_is_that_of_the_sources_and_changes_with_any_of_them(tmp_path: Path):
    """A copy elsewhere has the same digest; a comment in a file of any depth changes it."""
    copy = tmp_path / "bkt_core"
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(bkt_core.__file__).parent, copy, ignore=left_out)
    assert _digest_in(tmp_path) == sources_digest()
    seen = {sources_digest()}
    for file in ("kernels.py", "fitting/em_engine.py", "judgement/selection.py"):
        with (copy / file).open("a") as source:
            source.write("# changed\n")
        seen.add(_digest_in(tmp_path))
    assert len(seen) == 4

"""Compiled code is made once, by `make install` or the first run, and never in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bkt_core.judgement.warm_up import FORGETTING
from bkt_core.params import AlgoParams
from flows.health import kernels
from flows.runs import compiled

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_run_says_that_it_will_compile(
    is_compiled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(kernels, "is_compiled", lambda _kernel: is_compiled)
    kernels.announce_compilation()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("compiling the kernels" in printed.err) is not is_compiled


@pytest.mark.parametrize("there", [True, False])
def test_a_run_says_that_it_will_compile_what_its_variants_need(
    there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """And a run of v1, which needs nothing of it, says nothing."""
    monkeypatch.setattr(compiled, "is_compiled", lambda _kernel: there)
    compiled.announce_variants(AlgoParams())
    assert capsys.readouterr().err == ""
    compiled.announce_variants(AlgoParams(), FORGETTING)
    assert ("with a variant" in capsys.readouterr().err) is not there


@pytest.mark.full_size
def test_what_install_compiles_is_all_that_a_night_calls(tmp_path: Path):
    """Into an empty folder; afterwards the warm-ups of a night add nothing to it."""
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "flows.health.kernels"]

    def files() -> set[str]:
        subprocess.run(command, env=env, check=True, capture_output=True)
        return {file.name for file in tmp_path.rglob("*.nbc")}

    first = files()
    assert len(first) > 20
    assert files() == first

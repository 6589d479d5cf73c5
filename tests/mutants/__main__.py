"""Whether a test would notice a wrong line: `python -m tests.mutants [--each N] [PACKAGE…]`.

Takes a sample of mutants of the decisive modules, one change of the source each, and runs the
tests that are about the module in a forked process. A mutant that no test notices survives.
A harness of our own: imports cost seconds here, so that an interpreter per mutant (cosmic-ray)
would spend most of its time on them; here they are made once, and forked.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import os
import random
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mutants.sites import Site, sites_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
#: Packages: modules that decide, and the tests that are about them.
PACKAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "judgement": (
        ("bkt_core/judgement/[!w]*.py",),  # without the warm-up, whose numbers mean nothing
        ("tests/bkt_core/judgement",),
    ),
    "evaluation": (
        ("bkt_core/evaluation/*.py",),
        ("tests/bkt_core/evaluation", "tests/bkt_core/judgement"),
    ),
    "model": (
        ("bkt_core/params.py", "bkt_core/model.py", "bkt_core/sequences.py"),
        ("tests/bkt_core/test_params.py", "tests/bkt_core/test_model.py",
         "tests/bkt_core/test_sequences.py", "tests/bkt_core/evaluation/test_gates.py"),
    ),
    "imports": (
        ("datasets/imports/plan.py", "datasets/imports/remarks.py", "datasets/accounting.py",
         "datasets/attempt_files/values/*.py", "datasets/attempt_files/first_attempts.py",
         "datasets/attempt_files/text.py"),
        ("tests/datasets/imports/test_plan.py", "tests/datasets/imports/test_import.py",
         "tests/datasets/attempt_files"),
    ),
    "store": (
        ("datasets/store/params/*.py", "datasets/store/states/*.py",
         "datasets/store/attempts/*.py", "datasets/store/online/recording.py"),
        ("tests/datasets/store",),
    ),
    "access": (("serving/access.py",), ("tests/serving/test_access.py",)),
    "decisions": (
        ("flows/evidence/decisions.py", "flows/promote_params.py", "flows/lifecycle/stages.py"),
        ("tests/flows/test_promote_params.py", "tests/flows/evidence",
         "tests/flows/lifecycle/test_stages.py"),
    ),
}  # fmt: skip
#: Survivors that no test can notice, with the reason.
EQUIVALENT: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    path: str
    site: Site


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a mutated source, all others as they are."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = mutant.path.removesuffix(".py").replace("/", ".")
        self.path = ROOT / mutant.path
        self.code = compile(mutant.site.apply(self.path.read_text()), str(self.path), "exec")

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002 - the protocol's
        """A spec for the mutated module alone."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def create_module(self, spec):  # noqa: ARG002 - the protocol's
        """The default."""
        return

    def exec_module(self, module):
        """Run the mutated code."""
        exec(self.code, module.__dict__)  # noqa: S102 - that is what a mutant is for


def mutants_of(patterns: Sequence[str]) -> list[Mutant]:
    """Every mutant of some modules."""
    paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
    return [
        Mutant(path.relative_to(ROOT).as_posix(), site)
        for path in paths
        for site in sites_of(path.read_text())
    ]


def survives(mutant: Mutant | None, tests: Sequence[str]) -> bool:
    """Whether the tests pass with the mutant: on SQLite, and where they do on PostgreSQL."""
    return _passes(mutant, tests, "not postgres") and _passes(mutant, tests, "postgres")


def _passes(mutant: Mutant | None, tests: Sequence[str], chosen: str) -> bool:
    """Whether some of the tests pass, in a child of this process."""
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os._exit(_run(mutant, tests, chosen))
    give_up_at = time.monotonic() + SECONDS
    while time.monotonic() < give_up_at:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) in (0, 5)  # 5: no test was chosen
        select.select([], [], [], 0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False  # a mutant that never ends is noticed


def _run(mutant: Mutant | None, tests: Sequence[str], chosen: str) -> int:
    import pytest

    if mutant is not None:
        try:
            sys.meta_path.insert(0, _Loader(mutant))
        except SyntaxError:
            return 1
    there = [test for test in tests if (ROOT / test).exists()]
    return int(
        pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", chosen, "-m",
             "not slow and not parity and not harness and not full_size", *there]
        )
    )  # fmt: skip


def main() -> int:
    """Print the score of each package and its survivors; 1 if one is below nine tenths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=25, help="mutants per package; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("packages", nargs="*", default=list(PACKAGES))
    options = parser.parse_args()
    for package in ("numpy", "numba", "polars", "pyarrow", "sqlalchemy", "sklearn.metrics"):
        importlib.import_module(package)  # what children need, once
    worst = 1.0
    for name in options.packages:
        patterns, tests = PACKAGES[name]
        every = mutants_of(patterns)
        rng = random.Random(options.seed)
        chosen = rng.sample(every, min(options.each, len(every))) if options.each else every
        if not survives(None, tests):
            print(f"{name}: the tests fail without a mutant; mend them first.")
            return 2
        began, left = time.monotonic(), []
        for mutant in chosen:
            known = EQUIVALENT.get((mutant.path, str(mutant.site)))
            if known is None and survives(mutant, tests):
                left.append(mutant)
                print(f"    survived: {mutant.path}, {mutant.site}", flush=True)
        score = 1.0 - len(left) / max(len(chosen), 1)
        worst = min(worst, score)
        print(
            f"{name:<12} {len(chosen) - len(left)} of {len(chosen)} noticed ({score:.0%}), "
            f"of {len(every)} mutants, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return 0 if worst >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())

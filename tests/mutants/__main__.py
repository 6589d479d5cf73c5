"""Whether a test would notice a wrong line: `python -m tests.mutants [--each N] [PACKAGE…]`.

Takes a sample of mutants of the decisive modules, one change of the source each, and runs the
tests that are about the module in a forked process. A mutant that no test notices survives.
A harness of our own: imports cost seconds here, so that an interpreter per mutant (cosmic-ray)
would spend most of its time on them; here they are made once, and forked, and one PostgreSQL
server is there for all of them.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import math
import os
import random
import select
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.preloading import preload
from tests.mutants.sites import Site, sites_of
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240
#: A file system in memory, for the temporary files of tests.
MEMORY = Path("/dev/shm")
LEAST_SCORE = 0.9
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
        ("tests/datasets/test_accounting.py", "tests/datasets/imports/test_plan.py",
         "tests/datasets/imports/test_import.py", "tests/datasets/attempt_files"),
    ),
    "params": (
        ("datasets/store/params/*.py",),
        ("tests/datasets/store/params", "tests/datasets/store/attempts"),
    ),
    "states": (
        ("datasets/store/states/*.py", "datasets/store/attempts/*.py",
         "datasets/store/online/recording.py"),
        ("tests/datasets/store/states", "tests/datasets/store/attempts",
         "tests/datasets/store/online"),
    ),
    "access": (("serving/access.py",), ("tests/serving/test_access.py",)),
    "decisions": (
        ("flows/evidence/decisions.py", "flows/promote_params.py", "flows/lifecycle/stages.py"),
        ("tests/flows/test_promote_params.py", "tests/flows/evidence"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    path: str
    site: Site
    line: str  # as the mutant has it

    @property
    def key(self) -> tuple[str, str]:
        """As the list of equivalent mutants names it."""
        return self.path, self.line

    def is_at(self, place: str) -> bool:
        """Whether a place, such as `tally.py` or `tally.py:41`, names it."""
        end, _, line = place.partition(":")
        return self.path.endswith(end) and line in ("", str(self.site.line))


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
        Mutant(
            path.relative_to(ROOT).as_posix(),
            site,
            site.apply(source).splitlines()[site.line - 1].strip(),
        )
        for path in paths
        for source in (path.read_text(),)
        for site in sites_of(source)
    ]


def survives(mutant: Mutant | None, tests: Sequence[str]) -> bool:
    """Whether the tests pass with the mutant: on SQLite, and where they do on PostgreSQL."""
    return all(_passes(mutant, tests, chosen) for chosen in ("not postgres", "postgres"))


def _passes(mutant: Mutant | None, tests: Sequence[str], chosen: str) -> bool:
    """Whether some of the tests pass, in a child of this process with its own folder."""
    with TemporaryDirectory(
        prefix="bkt-mutant-", dir=MEMORY if MEMORY.is_dir() else None
    ) as own:
        child = os.fork()
        if child == 0:
            _end_with(mutant, tests, chosen, own)
        give_up_at = time.monotonic() + SECONDS
        while time.monotonic() < give_up_at:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) in (0, 5)  # 5: no test was chosen
            select.select([], [], [], 0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False  # a mutant that never ends is noticed


def _end_with(mutant: Mutant | None, tests: Sequence[str], chosen: str, own: str) -> NoReturn:
    """Run the tests and end this process, whatever the mutant raises."""
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.environ["TMPDIR"] = tempfile.tempdir = own
        code = _run(mutant, tests, chosen)
    finally:
        os._exit(code)


def _run(mutant: Mutant | None, tests: Sequence[str], chosen: str) -> int:
    import pytest

    if mutant is not None:
        try:
            sys.meta_path.insert(0, _Loader(mutant))
        except SyntaxError:
            return 1
    return int(
        pytest.main(
            ["-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider",
             "-p", "no:xdist", "-k", chosen, "-m",
             "not slow and not parity and not harness and not full_size",
             *_nearest_first(mutant, tests)]
        )
    )  # fmt: skip


def _nearest_first(mutant: Mutant | None, tests: Sequence[str]) -> list[str]:
    """The tests, beginning with the file, then the folder, that mirror the mutated module."""
    if mutant is None:
        return list(tests)
    module = Path(mutant.path)
    mirror = "tests" / module.with_name(f"test_{module.name}")
    files = [
        path
        for test in tests
        for path in (
            [ROOT / test] if test.endswith(".py") else (ROOT / test).rglob("test_*.py")
        )
    ]
    nearest = ROOT / mirror
    order = sorted(set(files), key=lambda p: (p != nearest, p.parent != nearest.parent, p))
    return [str(path) for path in order]


def _measure(name: str, each: int, seed: int, only: str | None) -> float:
    """Print the survivors of one package and its score; NaN where there is no score."""
    patterns, tests = PACKAGES[name]
    missing = [test for test in tests if not (ROOT / test).exists()]
    every = mutants_of(patterns)
    known = {
        (path, line) for path, lines in EQUIVALENT.items() for line in lines
        if any(mutant.path == path for mutant in every)
    }  # fmt: skip
    gone = known - {mutant.key for mutant in every}
    if missing or gone:
        print(f"{name}: no such tests: {missing}; no longer mutants: {sorted(gone)}.")
        return math.nan
    every = [mutant for mutant in every if mutant.key not in known]
    if only is not None:
        every = [mutant for mutant in every if mutant.is_at(only)]
    chosen = random.Random(seed).sample(every, min(each, len(every))) if each else every
    if not survives(None, tests):
        print(f"{name}: the tests fail without a mutant; mend them first.")
        return math.nan
    began, left = time.monotonic(), 0
    for mutant in chosen:
        if survives(mutant, tests):
            left += 1
            print(f"    survived: {mutant.path}, {mutant.site}", flush=True)
    if not survives(None, tests):
        print(f"{name}: the tests fail without a mutant by now; the sample says nothing.")
        return math.nan
    score = 1.0 - left / max(len(chosen), 1)
    print(
        f"{name:<12} {len(chosen) - left} of {len(chosen)} noticed ({score:.0%}), "
        f"of {len(every)} mutants and {len(known)} equivalent ones, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return score


def main() -> int:
    """Print the score of each package and its survivors; 1 if one is below nine tenths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=15, help="mutants per package; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="a module or a line, such as tally.py:41")
    parser.add_argument("packages", nargs="*", default=list(PACKAGES))
    options = parser.parse_args()
    preload(tuple(pattern for name in options.packages for pattern in PACKAGES[name][0]))
    with ExitStack() as stack:
        if "BKT_TEST_DATABASE_URL" not in os.environ:
            server = stack.enter_context(postgres_server(fsync="off"))
            os.environ["BKT_TEST_DATABASE_URL"] = server.admin_url
        scores = [
            _measure(name, options.each, options.seed, options.only)
            for name in options.packages
        ]
    return 0 if all(score >= LEAST_SCORE for score in scores) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The layout of docs/architecture.md holds: sizes of folders and modules, and what it names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bkt_core", "bkt_settings", "datasets", "flows", "serving", "benchmarks", "tests")
MAX_MODULES, MAX_LINES = 14, 300
#: Numba's cache watches one file, so that kernels which call each other share it; a migration
#: that was released is not edited any more; these tests share their fixtures from end to end.
LONG = {
    "bkt_core/family/kernels.py",
    "bkt_core/kernels.py",
    "datasets/row_kernels.py",
    "datasets/store/schema/migrations/versions/0001_tables.py",
    "tests/bkt_core/judgement/test_selection.py",
}
_NAMED = re.compile(r"`([a-z_]+(?:/[a-z_]+)*\.py): (\w+)`")


def _modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_folder_holds_more_than_fourteen_modules():
    """Packages' own `__init__.py` files do not count."""
    counts = Counter(path.parent for path in _modules() if path.name != "__init__.py")
    assert {str(folder): n for folder, n in counts.items() if n > MAX_MODULES} == {}


def test_no_module_is_longer_than_three_hundred_lines():
    """But for those whose reason stands above."""
    lengths = {
        path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in _modules()
    }
    assert {name for name, lines in lengths.items() if lines > MAX_LINES} <= LONG


def test_every_function_that_the_architecture_names_exists():
    """The walk of one attempt leads through the code as it is."""
    named = _NAMED.findall((ROOT / "docs" / "architecture.md").read_text())
    assert len(named) > 20
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        defined = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        assert name in defined, f"docs/architecture.md names {file}: {name}"


def test_every_tested_folder_mirrors_one_of_the_code():
    """A folder of tests is named like the folder that it tests."""
    for package in ("bkt_core", "bkt_settings", "datasets", "flows", "serving"):
        for folder in (ROOT / "tests" / package).rglob("*"):
            if folder.is_dir() and folder.name not in {"__pycache__", "support"}:
                assert (ROOT / folder.relative_to(ROOT / "tests")).is_dir(), folder

"""What a command does not need it does not import: a table is read in less than a second."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flows.cli.app import run

if TYPE_CHECKING:
    from pathlib import Path

#: Packages that cost a tenth of a second or tens of MiB each.
HEAVY = (
    "alembic", "dataframely", "fastapi", "matplotlib", "mlflow", "numba", "numpy", "pandas",
    "polars", "prefect", "pyarrow", "pyBKT", "scipy", "sklearn", "sqlalchemy", "pydantic",
)  # fmt: skip
TABLE = {"sqlalchemy", "pydantic"}
#: Each command, its exit code, and the heavy packages that it may import.
COMMANDS = [
    (["--help"], 0, set()),
    (["import", "--help"], 0, set(HEAVY) - {"alembic", "matplotlib", "mlflow", "prefect"}),
    (["params"], 0, TABLE),
    (["params", "--history", "x"], 2, TABLE),
    (["algo", "list"], 0, TABLE),
    (["algo", "show", "v2"], 0, TABLE),
    (["algo", "show", "v0"], 1, TABLE),
    (["mastery", "nobody"], 0, TABLE),
    (["status"], 0, TABLE),
]
_PROGRAM = """
import contextlib, io, json, sys
from flows.cli.app import run
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    code = run(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted({m.split(".")[0] for m in sys.modules})}))
"""


@pytest.mark.parametrize(
    ("words", "code", "allowed"), COMMANDS, ids=[" ".join(words) for words, *_ in COMMANDS]
)
def test_a_command_imports_what_it_needs(
    bkt_home: Path, words: list[str], code: int, allowed: set[str]
):
    """In a process of its own, against a database that is there."""
    assert run(["init"]) == 0
    assert bkt_home.is_dir()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["code"] == code
    assert set(HEAVY).intersection(told["modules"]) <= allowed


def test_the_public_names_of_the_model_are_all_there():
    """Each is imported when it is asked for; `replay` is the function, not the module."""
    import bkt_core
    import bkt_core.replay

    for name in bkt_core.__all__:
        assert getattr(bkt_core, name).__module__.startswith("bkt_core.")
    assert callable(bkt_core.replay)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bkt_core.nothing  # noqa: B018 - the access is the test

"""Files drawn by chance: each is imported with counts that add up, or refused in a sentence."""

from __future__ import annotations

import re
from random import Random

import pytest
from sqlalchemy import func, select

from bkt_core.errors import BktError
from datasets.store.schema.tables import AttemptRow
from tests.datasets.imports.made_files import make_file

#: Files of the everyday suite, and those before a release: `make test-full-size`.
FEW, MANY = 150, 2_000


def n_stored(engine) -> int:
    with engine.connect() as conn:
        return int(conn.execute(select(func.count()).select_from(AttemptRow)).scalar_one())


def require_sentence(error: BktError, number: int) -> None:
    """An exit code of its class and a sentence that a person can read."""
    told = str(error)
    assert error.exit_code in (1, 2, 3), (number, told)
    assert len(told) < 2_500, (number, told)
    assert told.rstrip().endswith("."), (number, told)
    assert not re.search(r"Traceback|polars|<class|object at", told), (number, told)


def import_each(run, engine, folder, n_files: int) -> dict[str, int]:
    """How the imports ended, by the class of their error; `imported` where there was none."""
    rng, ends = Random(20261127), dict[str, int]()  # noqa: S311 - no secret
    for number in range(n_files):
        made = make_file(rng, folder, number)
        before = n_stored(engine)
        try:
            report = run(made.path, made.options)
        except BktError as error:
            end = type(error).__name__
            require_sentence(error, number)
            stored_after = n_stored(engine)
            assert stored_after == before, number
        else:
            end = "imported"
            assert n_stored(engine) - before == report.attempts, number
            if made.is_whole and not made.options.columns:
                assert report.rows.read in (made.n_rows, max(made.n_rows - 1, 0)), number
        ends[end] = ends.get(end, 0) + 1
        made.path.unlink()
    return ends


def test_a_file_of_any_make_is_imported_or_refused_in_a_sentence(run, engine, tmp_path):
    ends = import_each(run, engine, tmp_path, FEW)
    assert {"imported", "FileFormatError"} <= set(ends)


@pytest.mark.full_size
def test_two_thousand_files_of_any_make(run, engine, tmp_path):
    ends = import_each(run, engine, tmp_path, MANY)
    assert min(ends["imported"], ends["FileFormatError"], ends["NothingAcceptedError"]) > 50

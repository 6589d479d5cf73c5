"""Imports of attempt files into a database of either kind."""

from __future__ import annotations

import pytest

from datasets.attempt_files.options import FileOptions
from datasets.imports.file_import import ImportOptions, import_file
from tests.datasets.attempt_rows import NOW
from tests.datasets.imports.importing import SKEW, write


@pytest.fixture
def run(engine, tmp_path):
    """Imports rows as a Parquet file, or a file that is there."""

    def import_rows(what, file=None, **options):
        path = what
        if isinstance(what, list):
            path = write(tmp_path / "attempts.parquet", what)
        options = {"future_skew": SKEW} | options
        chosen = ImportOptions(file=file or FileOptions(), **options)
        return import_file(engine, path, chosen, quarantine_root=tmp_path / "q", at=NOW)

    return import_rows

"""Attempt files as text, imported or refused, and what is stored of them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bkt_core.errors import UsageError
from datasets.attempt_files.options import FileOptions
from datasets.errors import FileFormatError, NothingAcceptedError
from tests.datasets.imports.importing import stored

HEADER = "user_id,concept_id,correct,attempted_at\n"
AT = "2026-01-05T08:00:00Z"


def moments(engine):
    with engine.connect() as conn:
        found = conn.execute(text("SELECT attempted_at FROM attempts ORDER BY id")).scalars()
        return [str(at)[:26].replace("+00:00", "").removesuffix(".000000") for at in found]


def import_text(run, path, body, **options):
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return run(path, FileOptions(**options))


def refused(run, engine, path, body, match, **options):
    with pytest.raises((FileFormatError, UsageError, NothingAcceptedError), match=match):
        import_text(run, path, body, **options)
    assert stored(engine) == []

"""The evidence for an activation: the stored parameters of both versions, scored today."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from datasets.extracts.extraction import ExtractOptions, extract_attempts
from datasets.store.connections.engines import reading
from datasets.store.params.versions import any_reads_details
from flows.runs.database import open_database
from flows.runs.plan import flood_of
from flows.versions.comparison import compare_versions
from flows.versions.sides import rows_in_force, versions_named

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from datasets.extracts.files import Extract
    from flows.versions.comparison import VersionComparison


def extract_for(engine: Engine, settings: Settings, versions: Collection[str]) -> Extract:
    """Extract the log as in a nightly run, with what these versions read of it.

    The caller removes its `session` folder.
    """
    with reading(engine) as conn:
        details = any_reads_details(conn, versions)
    options = ExtractOptions(
        details=details,
        future_skew=timedelta(minutes=settings.imports.allowed_skew_minutes),
        max_quarantine=settings.extract.max_quarantine_share,
    )
    with open_database(settings, settings.extraction_database) as source:
        return extract_attempts(
            source, settings.data_dir, at=datetime.now(UTC), options=options
        )


def evidence_for(
    engine: Engine, settings: Settings, a: str, b: str
) -> tuple[VersionComparison, str]:
    """Compare version B with version A, with the parameters that each would have in force.

    The log is extracted as in a nightly run, and its digest is returned; nothing is fitted.
    """
    extract = extract_for(engine, settings, (a, b))
    try:
        with reading(engine) as conn:
            versions = versions_named(conn, a, b)
            sides = rows_in_force(conn, versions, settings.data_dir / "fits")
        flood = flood_of(settings, extract)
        left_out = None if flood is None else flood.users
        found = compare_versions(
            extract, versions.names, sides, left_out=left_out, variant=versions.variant
        )
        return found, extract.digest
    finally:
        shutil.rmtree(extract.session, ignore_errors=True)  # no run refers to its files

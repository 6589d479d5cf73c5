"""Flow: extract the attempt log to validated Parquet files, in one consistent snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from bkt_settings.pipeline import Settings
from datasets.errors import ExtractError
from datasets.extracts.extraction import ExtractOptions
from datasets.extracts.extraction import extract_attempts as read_log
from datasets.store.connections.engines import reading
from datasets.store.params.versions import any_reads_details
from flows.lifecycle.stages import Extracted
from flows.runs.database import open_database


@flow(name="extract-attempts", flow_run_name="extract")
def extract_attempts(
    settings: Settings, *, full: bool = False, versions: Sequence[str] = ()
) -> Extracted:
    """Read the log and the state versions in one snapshot.

    Questions and stamps come with them if the version in force, one that nights fit beside it,
    or one of `versions` reads them.
    """
    return read_attempt_log(
        settings, full=full, versions=sorted({*settings.fit.candidates, *versions})
    )


def database_broke_off(_task: object, _run: object, state: State[Any]) -> bool:
    """Return whether to retry: only if the log could not be read to the end."""
    return isinstance(state.result(raise_on_failure=False), ExtractError)


@task(
    name="read-attempt-log",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 8],
    retry_jitter_factor=0.5,
    retry_condition_fn=database_broke_off,
)
def read_attempt_log(settings: Settings, *, full: bool, versions: Sequence[str]) -> Extracted:
    """Run the extraction once."""
    with open_database(settings, settings.extraction_database) as engine:
        with reading(engine) as conn:
            details = any_reads_details(conn, versions)
        options = ExtractOptions(
            future_skew=timedelta(minutes=settings.imports.allowed_skew_minutes),
            max_quarantine=settings.extract.max_quarantine_share,
            full=full,
            details=details,
        )
        extract = read_log(engine, settings.data_dir, at=datetime.now(UTC), options=options)
    return Extracted(root=extract.root, session=extract.session)

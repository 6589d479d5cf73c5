"""`bkt init`: create or upgrade the schema and insert its seed rows."""

from __future__ import annotations

from datetime import UTC, datetime

from bkt_settings.pipeline import load_settings
from datasets.store.attempts.unstamped import has_unstamped
from datasets.store.connections.database_errors import explained_errors
from datasets.store.connections.engines import make_engine, redacted
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import current_revision, head_revision, upgrade
from datasets.whole_files import make_folder
from flows.cli.output import DEFAULT_OUTPUT, Output


def init(*, output: Output = DEFAULT_OUTPUT) -> int:
    """Create or upgrade the schema and seed it; may be repeated."""
    settings = load_settings()
    make_folder(settings.data_dir)
    engine = make_engine(settings.database)
    try:
        with explained_errors(settings.database):
            before = current_revision(engine)
            upgrade(engine)
            with engine.begin() as conn:
                seed(conn, at=datetime.now(UTC))
                unstamped = has_unstamped(conn)
    finally:
        engine.dispose()
    after = head_revision()
    where = redacted(settings.database)
    said = "was up to date" if before == after else f"is now at revision {after}"
    if unstamped:
        said += (
            "; attempts of earlier releases have no stamp: `bkt stamp` gives it, before a "
            "version with history is fitted"
        )
    output.give(
        {
            "database": where,
            "revision_before": before,
            "revision": after,
            "attempts_without_stamp": unstamped,
        },
        lambda console: console.print(f"The database {where} {said}."),
    )
    return 0

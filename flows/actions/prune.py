"""Apply retention: remove old extractions, run files, fits and snapshot rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from datasets.extracts.retention import prune_extracts, prune_fits, prune_folders
from datasets.store.connections.engines import reading
from datasets.store.params.skill_params import active_params
from datasets.store.params.versions import list_versions
from datasets.store.states.snapshots import thin_snapshots
from flows.runs.database import open_database

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings


def prune_everything(settings: Settings) -> dict[str, int]:
    """Apply the retention of the settings; return the number of removed items by kind."""
    at, keep, data_dir = datetime.now(UTC), settings.retention, settings.data_dir
    with open_database(settings) as engine:  # first, so that nothing is removed if it fails
        with reading(engine) as conn:
            # Those of candidates as well: each version's nights compare with its own rows.
            rows = [
                row
                for version in list_versions(conn)
                for row in active_params(conn, version.id).values()
            ]
        with engine.begin() as conn:
            thinned = thin_snapshots(conn, before=at - timedelta(days=keep.snapshots_full_days))
    pruned = prune_extracts(data_dir, keep=timedelta(days=keep.extracts_nights), at=at)
    old = at - timedelta(days=keep.runs_days)
    needed = {str(row.metrics.get("fit_key")) for row in rows}
    return {
        "extracts": pruned.extracts,
        "abandoned folders": pruned.abandoned,
        "runs": prune_folders(data_dir / "runs", before=old),
        "quarantines": prune_folders(data_dir / "quarantine", before=old),
        "fits": prune_fits(data_dir / "fits", before=old, needed=needed),
        "snapshot rows": thinned,
    }

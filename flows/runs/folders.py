"""Find runs on this disk by their id or the beginning of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.errors import BadInputError, UsageError
from datasets.store.runs.runs import runs_named
from datasets.whole_files import read_json
from flows.evidence.evidence import FACTS
from flows.runs.plan import CANDIDATE

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from bkt_settings.pipeline import Settings


def stored_run(conn: Connection, run: str) -> str:
    """Return the id of a run in the database, from its id or the beginning of it."""
    found = runs_named(conn, run) if run else ()
    if len(found) == 1:
        return found[0].run_id
    said = f"{len(found)} runs begin with it" if found else "there is no such run"
    raise BadInputError(
        f"A run must be named by its id or the beginning of it, got {run!r}, but {said}; "
        "`bkt status` lists the last ones."
    )


def run_folder(settings: Settings, run_id: str | None) -> Path:
    """Return the folder of a run by its id or the beginning of it; the newest if None.

    The newest is that of the version in force: candidates are fitted after the night itself.
    """
    runs = settings.data_dir / "runs"
    known = sorted(
        (path.parent for path in runs.glob(f"*/{FACTS}")),
        key=lambda folder: (folder / FACTS).stat().st_mtime,
    )
    if run_id is None:
        if not known:
            raise UsageError(
                f"There is no run with evidence in {runs} yet; `bkt retrain` makes one."
            )
        served = (folder for folder in reversed(known) if _kind(folder) != CANDIDATE)
        return next(served, known[-1])
    found = [folder for folder in known if folder.name.startswith(run_id)]
    if len(found) == 1 or (found and found[0].name == run_id):
        return found[0]
    newest = ", ".join(folder.name[:12] for folder in known[-3:][::-1]) or "none"
    said = f"{len(found)} runs begin with it" if found else "no run with evidence has it"
    raise UsageError(
        f"RUN must name one run in {runs}, got {run_id!r}, but {said}; the newest: {newest}."
    )


def _kind(folder: Path) -> str | None:
    """Return the kind of the run that a folder has the evidence of."""
    kind: str | None = read_json(folder / FACTS).get("kind")
    return kind

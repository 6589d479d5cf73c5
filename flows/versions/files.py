"""Write the files of a comparison into the folder of its run; none contains user ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets.parquet import write_frame
from datasets.whole_files import make_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from flows.versions.report import VersionReport

FACTS, TABLE, PAGE = "versions.json", "versions.parquet", "versions.html"


def write_comparison(folder: Path, report: VersionReport) -> list[Path]:
    """Write scores and moves as JSON, and the concepts as Parquet; return both paths."""
    make_folder(folder)
    facts = {"run_id": report.run_id, "at": report.at.isoformat(), "tags": dict(report.tags)}
    write_json(folder / FACTS, facts | report.outcome())
    write_frame(folder / TABLE, report.comparison.concepts)
    return [folder / FACTS, folder / TABLE]

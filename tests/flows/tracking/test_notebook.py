"""The notebook of docs/notebooks, executed from its first cell to its last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient

from flows.nightly import nightly
from flows.runs.requests import RetrainRequest

if TYPE_CHECKING:
    from sqlalchemy import Engine

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs" / "notebooks" / "compare_runs.ipynb"
ROOT = NOTEBOOK.parents[2]


def test_the_notebook_is_stored_without_results():
    """So that a change of it can be read, and no data come with it."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert len(code) >= 6
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_on_two_nights(
    sqlite_night: Engine, tracked_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two nights in the table, three figures, and a fit that finds what was simulated."""
    assert sqlite_night
    nightly(RetrainRequest())
    nightly(RetrainRequest(full=True))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("IPYTHONDIR", str(tracked_home / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        book, timeout=300, kernel_name="python3",
        resources={"metadata": {"path": str(tracked_home)}},
    ).execute()  # fmt: skip
    outputs = [out for cell in book.cells for out in cell.get("outputs", ())]
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 3
    tables = [
        out["data"]["text/plain"] for out in outputs if "text/plain" in out.get("data", {})
    ]
    assert any("concept-001" in table and "promoted" in table for table in tables)
    fitted = tables[-1]
    assert "fitted" in fitted

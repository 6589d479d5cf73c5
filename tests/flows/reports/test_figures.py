"""The figures of a run: all of them, the same bits each time, drawn once."""

from __future__ import annotations

import shutil

import pytest

from bkt_core.judgement.selection import decide
from flows.reports.figures import DRAWERS, figures
from flows.reports.page import write_page
from flows.reports.page_parts import CAPTIONS
from tests.flows.support.judged_runs import LIMITS, evidence_of, judged


@pytest.fixture(scope="module")
def evidence():
    return evidence_of(decide(judged(6, champions=True), LIMITS))


def test_every_figure_has_a_caption_in_the_same_order():
    assert list(CAPTIONS) == list(DRAWERS)


@pytest.mark.slow
def test_figures_that_are_there_make_the_same_page(evidence, tmp_path, monkeypatch):
    """A run with nothing new does not draw, nor import what draws."""
    page = write_page(tmp_path, evidence).read_text()
    with monkeypatch.context() as patch:
        patch.setattr("flows.reports.figures.figures", None)
        assert write_page(tmp_path, evidence, redraw=False).read_text() == page
    shutil.rmtree(tmp_path / "figures")
    assert write_page(tmp_path, evidence, redraw=False).read_text() == page


@pytest.mark.slow
def test_every_figure_is_drawn_and_is_the_same_twice(evidence):
    drawn = figures(evidence)
    assert drawn.keys() == DRAWERS.keys()
    assert figures(evidence) == drawn

"""What reports say is what the run's files hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape
from io import StringIO
from typing import TYPE_CHECKING

import polars as pl
import pytest
from rich.console import Console

from bkt_core.judgement.selection import decide
from flows.evidence.evidence import (
    RunFilesMissingError,
    evidence_files,
    finished,
    read_evidence,
    write_evidence,
)
from flows.evidence.scalars import run_scalars, worst_concepts
from flows.evidence.sentences import brief, in_order, summary_sentences
from flows.reports.comparison import compare_runs, show_comparison
from flows.reports.comparison_page import comparison_page
from flows.reports.figures import DRAWERS, figures
from flows.reports.page import report_page, write_page
from flows.reports.terminal import report_json, show_report
from tests.flows.support.judged_runs import AWKWARD, LIMITS, STARTED, evidence_of, judged

if TYPE_CHECKING:
    from pathlib import Path

    from flows.evidence.evidence import RunEvidence

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def verdicts():
    return decide(judged(8, champions=True), LIMITS)


@pytest.fixture(scope="module")
def evidence(verdicts) -> RunEvidence:
    return evidence_of(verdicts)


def _printed(show, *of) -> str:
    out = StringIO()
    show(Console(file=out, width=200), *of)
    return out.getvalue()


def test_evidence_read_from_its_files_is_the_evidence_written(evidence, tmp_path):
    write_evidence(tmp_path, evidence)
    again = read_evidence(tmp_path)
    assert again.facts == evidence.facts
    for name in ("concepts", "checks", "curves"):
        assert getattr(again, name).equals(getattr(evidence, name))


def test_a_run_without_files_is_refused_in_words(tmp_path):
    with pytest.raises(RunFilesMissingError, match="left no evidence"):
        read_evidence(tmp_path / "nothing")


def test_every_concept_has_one_row_and_every_check_is_kept(evidence, verdicts):
    assert evidence.concepts.height == len(verdicts) + 1  # one failed
    assert evidence.checks.height == sum(len(v.report.checks) for v in verdicts)
    decided = dict(evidence.concepts.select("concept_id", "decision").iter_rows())
    assert decided.pop("broken") == "failed"
    assert decided == {v.concept_id: v.decision.value for v in verdicts}


def test_a_refused_switch_is_told_as_kept(evidence):
    promoted = evidence.concepts.filter(pl.col("decision") == "promoted")["concept_id"][0]
    closed = finished(
        evidence,
        status="done",
        finished_at=STARTED,
        summary={},
        kept_after_all={promoted: "incumbent_changed"},
    )
    (row,) = closed.concepts.filter(pl.col("concept_id") == promoted).to_dicts()
    assert (row["decision"], row["reason"]) == ("kept", "incumbent_changed")


def test_scalars_have_the_same_twenty_to_forty_keys_whatever_the_run(evidence):
    nothing = evidence_of([])
    assert run_scalars(evidence).keys() == run_scalars(nothing).keys()
    assert 20 <= len(run_scalars(nothing)) <= 40
    scalars = run_scalars(evidence)
    scored = evidence.concepts.drop_nulls("auc")
    assert scalars["pooled_n"] == scored["n_attempts"].sum()
    assert scalars["concepts_failed"] == 1


def test_the_worst_come_first(evidence):
    assert worst_concepts(evidence, n=3)["concept_id"][0] == "broken"


def test_the_terminal_tells_every_decision_and_takes_no_id_for_markup(evidence):
    told = _printed(show_report, evidence)
    for word in ("promoted", "skipped (1)", "failed (1)", "LikelihoodFellError", "AUC"):
        assert word in told
    assert "[bold]$x$</b>" in told


def test_what_puts_nothing_in_force_says_what_would_be_promoted(evidence):
    trial = replace(evidence, facts=replace(evidence.facts, kind="fit"))
    dry = replace(
        evidence, facts=replace(evidence.facts, tags=dict(evidence.facts.tags, dry_run="true"))
    )
    for one in (trial, dry):
        told = _printed(show_report, one)
        assert "would be promoted (" in told
        assert "The promotions would lift" in told
        assert told.count("promoted") == told.count("would be promoted") + told.count(
            "were not promoted"
        )


def test_the_rows_of_a_candidate_are_told_as_those_of_its_version(evidence):
    """They are written, and serve nobody before an activation."""
    tags = dict(evidence.facts.tags, algo_version="v2")
    facts = replace(evidence.facts, kind="candidate", tags=tags)
    told = _printed(show_report, replace(evidence, facts=facts))
    assert "promoted under v2 (" in told
    assert "would be promoted" not in told
    assert "The promotions would, with v2 in force, lift" in " ".join(told.split())


def test_a_concept_that_waits_for_a_person_tells_how_it_is_let_pass(evidence):
    """Whatever its id is, the flag can be copied into a shell."""
    (row,) = evidence.concepts.filter(pl.col("concept_id") == AWKWARD).to_dicts()
    told = brief(row | {"decision": "kept", "reason": "impact"})
    command = told.split("`")[1]
    assert shlex.split(command) == ["bkt", "retrain", f"--approve={AWKWARD}"]


def test_a_concept_that_was_not_shown_to_be_better_tells_by_how_much():
    """In the words of its check, which stays where they say more."""
    row = {
        "decision": "kept",
        "reason": "better_than_champion",
        "gain_champion": -0.0014,
        "gain_champion_error": 0.001,
        "adjusted_p": 0.92,
        "champion_in_sample": False,
        "why": "the whole sentence",
    }
    told = (
        "not shown to be better: -0.0014 ± 0.0020 nats per attempt, false discovery rate 0.92"
    )
    assert brief(row) == told
    for unusual in ({"champion_in_sample": True}, {"gain_champion_error": None}):
        assert brief(row | unusual) == "the whole sentence"
    assert brief(row | {"reason": "not_worse_than_mean"}) == "the whole sentence"


def test_the_gain_over_champions_says_of_which_concepts_it_is(evidence):
    """The other scores are of all concepts with a fit."""
    compared = evidence.concepts.drop_nulls("champion_log_loss")
    assert 0 < compared.height < evidence.concepts.drop_nulls("log_loss").height
    (told,) = (s for s in summary_sentences(evidence) if "champions" in s)
    assert f"of {compared.height} concepts" in told
    weights = compared["n_attempts"]
    assert f"{(compared['log_loss'] * weights).sum() / weights.sum():.4f} instead of" in told


@pytest.mark.slow
def test_the_page_links_the_attempts_where_their_page_lies_beside_it(evidence, tmp_path):
    assert 'href="data.html"' not in write_page(tmp_path, evidence).read_text()
    (tmp_path / "data.html").write_text("attempts")
    assert 'href="data.html"' in write_page(tmp_path, evidence).read_text()


def test_the_json_is_strict_and_holds_every_concept(evidence):
    read = json.loads(json.dumps(report_json(evidence), allow_nan=False))
    assert len(read["concepts"]) == evidence.concepts.height
    assert sum(read["decisions"].values()) == evidence.concepts.height


def test_a_run_without_fits_has_a_report_without_their_figures():
    nothing = evidence_of([])
    assert "gate_waterfall" in figures(nothing)
    assert "reliability" not in figures(nothing)
    report_page(nothing)
    _printed(show_report, nothing)


def test_comparing_names_what_differs_and_whose_concepts_are_missing(evidence, verdicts):
    fewer = evidence_of(verdicts[:5], run_id="b" * 32)
    fewer.facts.tags["data_digest"] = "e" * 64
    compared = compare_runs(evidence, fewer)
    assert not compared.same_attempts
    assert compared.only_a == tuple(sorted(v.concept_id for v in verdicts[5:]))
    assert compared.only_b == ()
    told = _printed(show_comparison, compared)
    assert "not scored on the same held-out attempts" in told
    assert "only in A" in told
    json.dumps(compared.as_json(), allow_nan=False)


def test_a_run_compared_with_itself_differs_in_nothing(evidence):
    compared = compare_runs(evidence, evidence)
    assert compared.same_attempts
    assert compared.differing == {}
    assert compared.concepts["largest_change"].drop_nulls().max() == 0.0


def test_the_page_stands_alone_and_no_id_becomes_markup(evidence):
    page = report_page(evidence)
    assert not re.search(r"\[\[(title|body|table_note|after|data)\]\]", page)
    assert AWKWARD not in page
    assert not re.search(r"(src|href)=\"(?!#)", page.split('<script type="application')[0])


def test_the_page_is_not_among_what_leaves_before_it_is_written(evidence, tmp_path):
    """Nothing but named files may leave: quarantine and shards hold users' ids."""
    write_evidence(tmp_path, evidence)
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / "rows.parquet").write_bytes(b"user")
    (tmp_path / "decisions.json").write_text("{}")
    write_page(tmp_path, evidence)
    names = {file.name for file in evidence_files(tmp_path)}
    expected = {"evidence.json", "concepts.parquet", "gates.parquet", "curves.parquet"}
    assert names == expected | {"report.html"} | {f"{name}.svg" for name in DRAWERS}


#: The page as a browser builds it: each step is run, then the ids of its rows are read.
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
ROWS = "[...document.querySelectorAll('tr.row')].map(row => row.dataset.concept)"


def _browse(page: str, tmp_path: Path, *steps: str) -> tuple[list[list[str]], str]:
    """The rows after each step, and the document after the last."""
    told = "".join(f"{step}; seen.push({ROWS});" for step in steps)
    script = f"<script>const seen = []; {told} document.title = JSON.stringify(seen);</script>"
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"{script}</body>"), encoding="utf-8")
    flags = ["--headless=new", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    command = [str(CHROMIUM), *flags, "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    return json.loads(unescape(title[1])), done.stdout


@in_a_browser
def test_the_page_of_a_run_works_in_a_browser(evidence, tmp_path):
    """Rows, search, choice, sorting as numbers and back, and a row that opens to its checks."""
    heads = "[...document.querySelectorAll('#table th button')]"
    by_auc = f"{heads}.find(head => head.textContent.startsWith('AUC')).click()"
    seen, dom = _browse(
        report_page(evidence),
        tmp_path,
        "draw()",
        "search.value = 'BROKEN'; draw()",
        "search.value = 'nobody'; draw()",
        "search.value = ''; decision.value = 'skipped'; decision.onchange()",
        "decision.value = ''; draw()",
        by_auc,
        by_auc,
        "document.querySelector('[data-concept=\"concept-001\"]').click()",
    )
    every, found, none, skipped, again, rising, falling, _ = seen
    assert every == in_order(evidence.concepts)["concept_id"].to_list()
    assert every[-1] == "broken"  # failed, after promoted, kept, rejected and skipped
    assert (found, none, skipped) == (["broken"], [], ["concept-007"])
    assert again == every
    known = evidence.concepts.drop_nulls("auc").sort("auc")["concept_id"].to_list()
    assert rising[: len(known)] == known
    assert falling[: len(known)] == known[::-1]
    assert "&lt;b&gt;Größe &amp; [bold]$x$&lt;/b&gt;" in dom  # text, not markup
    details = dom[dom.index('<tr class="details">') :]
    own = evidence.checks.filter(pl.col("concept_id") == "concept-001")
    assert details.count("<li") == own.height
    assert "better than champion" in details


@in_a_browser
def test_the_page_of_two_runs_works_in_a_browser(evidence, verdicts, tmp_path):
    fewer = evidence_of(verdicts[:5], run_id="b" * 32)
    compared = compare_runs(evidence, fewer)
    (rows,), dom = _browse(comparison_page(compared), tmp_path, "draw()")
    assert rows == compared.concepts["concept_id"].to_list()
    for row in fewer.concepts.to_dicts():
        assert escape(brief(row), quote=False) in dom
    assert "Only in A (3)" in dom

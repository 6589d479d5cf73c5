"""Reports on a run of a version that forgets tell p_F; those of v1 stay as they are."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from bkt_core.judgement.selection import decide
from bkt_core.judgement.warm_up import FORGETTING
from flows.evidence.evidence import read_evidence, write_evidence
from flows.evidence.scalars import run_scalars
from flows.evidence.sentences import summary_sentences
from flows.evidence.tables import CONCEPT_SCHEMA
from flows.reports.comparison import compare_runs, show_comparison
from flows.reports.comparison_page import comparison_page
from flows.reports.figures import figures
from flows.reports.page import report_page
from flows.reports.terminal import report_json, show_report
from tests.flows.support.judged_runs import LIMITS, evidence_of, judged

OF_F = ["p_F", "p_F_low", "p_F_high", "old_p_F"]


@pytest.fixture(scope="module")
def forgetting():
    verdicts = decide(judged(5, algo=FORGETTING), LIMITS)
    return evidence_of(verdicts, algo=FORGETTING)


@pytest.fixture(scope="module")
def plain():
    return evidence_of(decide(judged(5), LIMITS), run_id="f" * 32)


def printed(show, *of) -> str:
    out = StringIO()
    show(Console(file=out, width=200), *of)
    return out.getvalue()


def test_p_F_has_columns_where_the_version_forgets_and_only_there(forgetting, plain):
    """Fitted, with its interval; the defaults in force before have none."""
    assert list(plain.concepts.columns) == list(CONCEPT_SCHEMA)
    assert forgetting.concepts.columns == [*CONCEPT_SCHEMA, *OF_F]
    fitted = forgetting.concepts.filter(forgetting.concepts["auc"].is_not_null())
    assert fitted.height == 4
    assert fitted["p_F"].is_between(0.0, 0.1).all()
    assert (fitted["p_F_low"] < fitted["p_F"]).drop_nulls().all()
    assert fitted["old_p_F"].null_count() == fitted.height


def test_what_was_written_is_read(forgetting, tmp_path):
    """And scalars have the keys of every run."""
    write_evidence(tmp_path, forgetting)
    again = read_evidence(tmp_path)
    assert again.concepts.equals(forgetting.concepts)
    assert again.facts == forgetting.facts


def test_scalars_have_the_same_keys_in_runs_of_any_version(forgetting, plain):
    assert run_scalars(forgetting).keys() == run_scalars(plain).keys()


def test_terminal_page_and_json_tell_p_F(forgetting, plain):
    heads = [printed(show_report, one) for one in (forgetting, plain)]
    promoted = [text.split("promoted (")[1] for text in heads]
    assert [" F " in text.splitlines()[2] for text in promoted] == [True, False]
    for run, has in ((forgetting, True), (plain, False)):
        assert ('"name": "F"' in report_page(run)) is has
        rows = report_json(run)["concepts"]
        assert all(("p_F" in row) is has for row in rows)
        json.dumps(rows)
    assert ">F<" in figures(forgetting)["parameter_moves"]


def test_the_prior_of_all_fits_is_told_in_one_sentence(forgetting, plain):
    """The typical value of each probability, with its spread in logits."""
    (told,) = [one for one in summary_sentences(forgetting) if "large concepts" in one]
    assert told.startswith("All 4 fits were drawn")
    assert "F 0.0293 ± 1" in told
    assert not any("large concepts" in one for one in summary_sentences(plain))


def test_a_run_that_forgets_is_compared_with_one_of_v1(forgetting, plain):
    """What v1 does not have is empty on its side; the moves are those of what both have."""
    for a, b in ((plain, forgetting), (forgetting, plain)):
        found = compare_runs(a, b)
        assert found.letters[-1] == "p_F"
        side = "b" if b is forgetting else "a"
        assert found.concepts[f"p_F_{side}"].drop_nulls().len() == 4
        assert found.concepts["largest_change"].drop_nulls().len() == 4
        assert " F " in printed(show_comparison, found)
        page = comparison_page(found)
        assert '"name": "F"' in page
        assert ">F<" in page
    assert compare_runs(plain, plain).letters[-1] == "p_G"

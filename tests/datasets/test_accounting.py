"""Counts of rows add up, or are no counts."""

from __future__ import annotations

import pytest

from datasets.accounting import NO_ROWS, RowCounts
from datasets.errors import AccountingError

COUNTS = {"read": 10, "accepted": 4, "duplicates": 3, "quarantined": 1, "skipped": 2}


def test_counts_that_add_up_are_kept():
    assert RowCounts(**COUNTS).as_dict() == {
        "read": 10, "accepted": 4, "duplicates": 3, "quarantined": 1,
    }  # fmt: skip
    assert RowCounts(read=1, accepted=1, duplicates=0, quarantined=0).skipped == 0
    assert (NO_ROWS.as_dict(), NO_ROWS.skipped) == (dict.fromkeys(NO_ROWS.as_dict(), 0), 0)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_that_do_not_add_up_are_refused(name):
    with pytest.raises(AccountingError):
        RowCounts(**COUNTS | {name: COUNTS[name] + 1})


@pytest.mark.parametrize("name", ["accepted", "duplicates", "quarantined", "skipped"])
def test_no_count_is_below_zero(name):
    """Even where all of them add up."""
    with pytest.raises(AccountingError):
        RowCounts(**COUNTS | {"read": 10 - COUNTS[name] - 1, name: -1})


def test_counts_are_added_field_by_field():
    both = RowCounts(**COUNTS) + RowCounts(read=3, accepted=1, duplicates=0, quarantined=2)
    assert both.as_dict() == {"read": 13, "accepted": 5, "duplicates": 3, "quarantined": 3}
    assert both.skipped == 2
    assert (both + NO_ROWS) == both


def test_the_share_in_quarantine_is_of_rows_that_were_not_skipped():
    assert RowCounts(**COUNTS).quarantined_share == 1 / 8
    assert NO_ROWS.quarantined_share == 0.0
    skipped = RowCounts(read=2, accepted=0, duplicates=0, quarantined=0, skipped=2)
    assert skipped.quarantined_share == 0.0

"""A row of parameters is read in the class that its version replays with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bkt_core.family.params import FamilyParams
from bkt_core.params import BktParams
from datasets.store.params.columns import WEIGHT_NAMES, params_of_row

BASE = BktParams(0.1, 0.2, 0.3, 0.4)


def row(**more):
    """A row as it is selected; what only some versions have is null."""
    values = dict.fromkeys(("p_f", *WEIGHT_NAMES)) | more
    return SimpleNamespace(p_l0=0.1, p_t=0.2, p_s=0.3, p_g=0.4, **values)


def test_four_probabilities_alone_are_plain_parameters():
    assert params_of_row(row()) == BASE
    assert type(params_of_row(row())) is BktParams


@pytest.mark.parametrize("p_f", [0.0, 0.25])
def test_a_row_with_forgetting_forgets_even_where_it_never_does(p_f):
    assert params_of_row(row(p_f=p_f)) == FamilyParams(BASE, p_f, {}, None)


def test_weights_and_questions_are_of_the_family():
    first = WEIGHT_NAMES[0]
    assert params_of_row(row(**{first: 0.0})) == FamilyParams(BASE, None, {first: 0.0}, None)
    asked = params_of_row(row(), question_odds=True)
    assert asked == FamilyParams(BASE, None, {}, {})

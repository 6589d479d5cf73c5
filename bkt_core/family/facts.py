"""The facts of attempts from which a version computes their multipliers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import InvalidSequencesError
from bkt_core.family import kernels
from bkt_core.family.covariates import covariates_of
from bkt_core.family.exponentials import EXPONENTIALS
from bkt_core.variant import Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.family.params import FamilyParams

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class AttemptFacts:
    """Of each attempt of some sequences, in their order; every array is (n_attempts,)."""

    question_odds: Floats  # 1 for a question without a row
    recent: Counts  # the stamp; (1, 0, 0) where an attempt has none
    n_before: Counts
    n_right_before: Counts
    seconds: Counts  # since the last attempt of the key; -1 at its first

    def part(self, chosen: slice | NDArray[np.int64]) -> AttemptFacts:
        """Return the facts of some attempts."""
        return AttemptFacts(*(getattr(self, one.name)[chosen] for one in fields(self)))


def multipliers_of(params: FamilyParams, facts: AttemptFacts | None) -> Floats | None:
    """Return the multiplier of each attempt, (n_attempts,); None if the version has none.

    Raises `InvalidSequencesError` if the version needs facts and there are none.
    """
    if not params.multiplies:
        return None
    if facts is None:
        raise InvalidSequencesError(
            "Parameters with question odds or weights need the facts of each attempt, got none."
        )
    variant = Variant(history="w_recent" in params.weights, gap="w_gap" in params.weights)
    n = facts.seconds.size
    out = np.empty(n)
    kernels.multiply_out(
        np.arange(0 if params.question_odds is None else n, dtype=np.int64),
        np.ascontiguousarray(facts.question_odds, dtype=np.float64),
        covariates_of(
            variant,
            recent=facts.recent,
            n_before=facts.n_before,
            n_right_before=facts.n_right_before,
            seconds=facts.seconds,
        ),
        np.array([*params.weights.values()], dtype=np.float64),
        EXPONENTIALS,
        out,
    )
    return out

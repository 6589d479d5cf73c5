"""The parts of the model family that an algorithm version uses, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from bkt_core.errors import BktError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The parts that are switched on; v1 has none of them."""

    forgetting: bool = False  # mastery may be lost between two attempts at the concept
    questions: bool = False  # one odds multiplier of P(correct) per question
    history: bool = False  # multipliers from recent and from all earlier attempts of the user
    gap: bool = False  # a multiplier from the time since the last attempt at the concept

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Variant:
        """Read the object under `variant` in `algo_params`; an unknown key is refused."""
        known = tuple(one.name for one in fields(cls))
        wrong = [
            key for key, value in values.items() if key not in known or value not in (0, 1)
        ]
        if wrong:
            raise BktError(
                f"variant of an algorithm must map keys among {', '.join(known)} to true or "
                f"false, got {dict(values)!r}."
            )
        return cls(**{key: bool(value) for key, value in values.items()})

    def as_json(self) -> dict[str, bool]:
        """Return the parts that are on; empty for v1 and v2."""
        return {one.name: True for one in fields(self) if getattr(self, one.name)}

    @property
    def is_plain(self) -> bool:
        """Whether no part is on: four probabilities, as v1 and v2 have them."""
        return not self.as_json()

    @property
    def multiplies(self) -> bool:
        """Whether attempts have odds multipliers."""
        return self.questions or self.history or self.gap

    @property
    def reads_details(self) -> bool:
        """Whether question or stamp of each attempt is read; time and outcome always are."""
        return self.questions or self.history

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the version's weights of covariates, in the order of summation."""
        names = ("w_recent", "w_long", "w_share") if self.history else ()
        return (*names, "w_gap", "w_first") if self.gap else names


@dataclass(frozen=True, slots=True)
class ForgettingBounds:
    """The bounds of p_F in a fit; field names are keys of `constraints` in `algo_params`."""

    F_min: float = 0.0
    F_max: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.F_min < self.F_max <= 1.0:
            raise BktError(
                "The bounds of p_F must satisfy 0 <= min < max <= 1, "
                f"got min {self.F_min!r} and max {self.F_max!r}."
            )

"""The parameters of a concept in any version of the family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bkt_core.errors import InvalidInputError, InvalidParamsError
from bkt_core.params import PARAM_NAMES, BktParams

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: The probabilities, in the order in which arrays of parameters hold them.
FAMILY_NAMES = (*PARAM_NAMES, "p_F")
#: The weights of covariates, in the order in which they sum.
WEIGHT_NAMES = ("w_recent", "w_long", "w_share", "w_gap", "w_first")


@dataclass(frozen=True, slots=True)
class FamilyParams:
    """Five probabilities of one concept, each finite and in [0, 1], and finite weights.

    `p_F` is the probability that a known skill is forgotten between two attempts; it is None
    for a version without forgetting. `weights` has the weights of the version's covariates, by
    name, in the order of summation. `question_odds` has the multiplier of each question of the
    concept, by id; a question without one has 1. It is None for a version without questions.
    """

    base: BktParams
    p_F: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    question_odds: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.p_F is not None and not 0.0 <= self.p_F <= 1.0:  # nor where it is NaN
            raise InvalidParamsError(name="p_F", value=self.p_F)
        for name, value in self.weights.items():
            if not math.isfinite(value):
                raise InvalidInputError(name=name, value=value, expected="a finite weight")
        for value in (self.question_odds or {}).values():
            if not (math.isfinite(value) and value > 0.0):
                raise InvalidInputError(
                    name="odds", value=value, expected="a finite number above 0"
                )

    @property
    def multiplies(self) -> bool:
        """Whether attempts have multipliers."""
        return self.question_odds is not None or bool(self.weights)

    @property
    def p_L0(self) -> float:
        """P(known before the first attempt)."""
        return self.base.p_L0

    @property
    def p_T(self) -> float:
        """P(learned at an attempt)."""
        return self.base.p_T

    @property
    def p_S(self) -> float:
        """P(wrong given known), before any multiplier."""
        return self.base.p_S

    @property
    def p_G(self) -> float:
        """P(right given unknown), before any multiplier."""
        return self.base.p_G

    def as_tuple(self) -> tuple[float, float, float, float, float]:
        """Return the five values in the order of `FAMILY_NAMES`; p_F is 0 if it is None."""
        return (*self.base.as_tuple(), 0.0 if self.p_F is None else self.p_F)

    def as_dict(self) -> dict[str, float]:
        """Return the probabilities and weights that the version has, by name."""
        forgotten = {} if self.p_F is None else {"p_F": self.p_F}
        return self.base.as_dict() | forgotten | dict(self.weights)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FamilyParams:
        """Read what `as_dict` or `params_as_json` wrote."""
        weights = {name: values[name] for name in WEIGHT_NAMES if name in values}
        return cls(
            BktParams(*(values[name] for name in PARAM_NAMES)),
            values.get("p_F"),
            weights,
            values.get("question_odds"),
        )


#: The parameters of a concept in any version: four probabilities, or those of the family.
Params: TypeAlias = BktParams | FamilyParams


def base_of(params: Params) -> BktParams:
    """Return the four probabilities."""
    return params.base if isinstance(params, FamilyParams) else params


def has_multipliers(params: Params) -> bool:
    """Return whether predictions with these parameters need the facts of each attempt."""
    return isinstance(params, FamilyParams) and params.multiplies


def without_multipliers(params: Params) -> Params:
    """Return the probabilities alone, as if every multiplier were 1."""
    if isinstance(params, FamilyParams) and params.multiplies:
        return FamilyParams(params.base, params.p_F)
    return params


def odds_of(params: Params | None, question_id: str | None) -> float:
    """Return the multiplier of a question; 1 if there is none."""
    if question_id is None or not isinstance(params, FamilyParams):
        return 1.0
    return (params.question_odds or {}).get(question_id, 1.0)


def params_as_json(params: Params) -> dict[str, Any]:
    """Return `as_dict` and, where the version has questions, `question_odds` by id."""
    if isinstance(params, FamilyParams) and params.question_odds is not None:
        return params.as_dict() | {"question_odds": dict(params.question_odds)}
    return params.as_dict()


def params_from_dict(values: Mapping[str, Any]) -> Params:
    """Read what `as_dict` of either class or `params_as_json` wrote."""
    if values.keys() <= set(PARAM_NAMES):
        return BktParams(**values)
    return FamilyParams.from_dict(values)


def names_among(*columns: Collection[str]) -> tuple[str, ...]:
    """Return the names of parameters that any of the collections has, in the usual order."""
    return tuple(
        name for name in (*FAMILY_NAMES, *WEIGHT_NAMES) if any(name in own for own in columns)
    )


def params_as_stored(params: Params) -> list[float] | dict[str, float]:
    """Return the short form in `bkt_skill_params.metrics`; `params_from_stored` reads it.

    A list of four probabilities, or of five with p_F; values by name where there are weights.
    """
    if isinstance(params, FamilyParams) and (params.p_F is None or params.weights):
        return params.as_dict()
    return list(params.as_tuple())


def params_from_stored(values: Sequence[float] | Mapping[str, Any]) -> Params:
    """Read what `params_as_stored` returned."""
    if isinstance(values, Mapping):
        return FamilyParams.from_dict(values)
    *letters, p_F = values if len(values) > len(PARAM_NAMES) else (*values, None)
    base = BktParams(*letters)
    return base if p_F is None else FamilyParams(base, p_F)

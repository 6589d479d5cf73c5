"""The four parameters of a concept, their bounds, and the settings of an algorithm."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from bkt_core.errors import BktError, InvalidParamsError, UnknownSettingsError
from bkt_core.variant import ForgettingBounds, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The parameters, in the order in which arrays hold them.
PARAM_NAMES = ("p_L0", "p_T", "p_S", "p_G")


@dataclass(frozen=True, slots=True)
class BktParams:
    """Four probabilities of one concept (Corbett & Anderson 1995), each finite and in [0, 1].

    `p_L0`: the skill is known before the first attempt. `p_T`: it is learned at an attempt.
    `p_S` (slip): an attempt is incorrect although the skill is known. `p_G` (guess): an attempt
    is correct although the skill is not known.
    """

    p_L0: float
    p_T: float
    p_S: float
    p_G: float

    def __post_init__(self) -> None:
        for name, value in zip(PARAM_NAMES, self.as_tuple(), strict=True):
            if not 0.0 <= value <= 1.0:  # also refuses NaN
                raise InvalidParamsError(name=name, value=value)

    def as_tuple(self) -> tuple[float, float, float, float]:
        """The four values in the order of `PARAM_NAMES`."""
        return (self.p_L0, self.p_T, self.p_S, self.p_G)

    def as_dict(self) -> dict[str, float]:
        """Return the four values by name."""
        return dict(zip(PARAM_NAMES, self.as_tuple(), strict=True))


#: Parameters of a concept for which nothing else is available (docs/tables.md, level 3).
FALLBACK_PARAMS = BktParams(p_L0=0.1, p_T=0.1, p_S=0.1, p_G=0.25)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The box in which parameters are fitted; field names are keys of `algo_params`."""

    L0_min: float = 0.001
    L0_max: float = 0.5
    T_min: float = 0.001
    T_max: float = 0.5
    S_min: float = 0.001
    S_max: float = 0.4
    G_min: float = 0.001
    G_max: float = 0.4

    def __post_init__(self) -> None:
        for letter, low, high in zip(PARAM_NAMES, self.lower, self.upper, strict=True):
            if not 0.0 <= low < high <= 1.0:
                raise BktError(
                    f"The bounds of {letter} must satisfy 0 <= min < max <= 1, "
                    f"got min {low!r} and max {high!r}."
                )

    @property
    def lower(self) -> tuple[float, float, float, float]:
        """The lowest values, in the order of `PARAM_NAMES`."""
        return (self.L0_min, self.T_min, self.S_min, self.G_min)

    @property
    def upper(self) -> tuple[float, float, float, float]:
        """The highest values, in the order of `PARAM_NAMES`."""
        return (self.L0_max, self.T_max, self.S_max, self.G_max)

    def clip(self, params: BktParams) -> BktParams:
        """Return the nearest parameters inside the box."""
        return BktParams(
            *(
                min(max(value, low), high)
                for value, low, high in zip(
                    params.as_tuple(), self.lower, self.upper, strict=True
                )
            )
        )

    def inside(self, margin: float) -> Bounds:
        """Return the same box with each edge at least `margin` away from 0 and 1."""
        edges = zip(self.lower, self.upper, strict=True)
        return Bounds(
            *(edge for low, high in edges for edge in (max(low, margin), min(high, 1 - margin)))
        )

    def touched_by(self, params: BktParams) -> tuple[str, ...]:
        """Return the names of the bounds at which `params` lies, such as `L0_max`."""
        touched = []
        rows = zip(PARAM_NAMES, params.as_tuple(), self.lower, self.upper, strict=True)
        for name, value, low, high in rows:
            if value == low:
                touched.append(f"{name.removeprefix('p_')}_min")
            elif value == high:
                touched.append(f"{name.removeprefix('p_')}_max")
        return tuple(touched)


#: The bounds of the four probabilities in the seeded versions beyond v2.
WIDE_BOX = Bounds(L0_max=0.95)


@dataclass(frozen=True, slots=True)
class AlgoParams:
    """The settings of one algorithm version, as stored in `algo_params`."""

    defaults: BktParams = FALLBACK_PARAMS
    bounds: Bounds = field(default_factory=Bounds)
    #: A user has mastered a concept if mastery is at least this probability.
    mastery_threshold: float = 0.95
    #: Concepts with fewer attempts are not fitted.
    min_attempts_for_fit: int = 10
    require_learned_better_than_unlearned: bool = True
    #: Least expected gain of mastery over ten opportunities.
    min_learning_gain: float = 0.05
    #: The parts of the model family that are on.
    variant: Variant = field(default_factory=Variant)
    #: The bounds of p_F; None for a version without forgetting.
    bounds_of_F: ForgettingBounds | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("mastery_threshold", 0.0, 1.0),
            ("min_attempts_for_fit", 1, math.inf),
            ("min_learning_gain", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise BktError(f"{name} must be in [{low:g}, {high:g}], got {value!r}.")
        if self.variant.forgetting != (self.bounds_of_F is not None):
            raise BktError(
                "An algorithm has bounds of p_F if and only if its variant has forgetting, "
                f"got forgetting {self.variant.forgetting} and bounds {self.bounds_of_F}."
            )

    def as_json(self) -> dict[str, Any]:
        """Return every setting in the form that `from_json` reads."""
        defaults = {
            f"default_{name.removeprefix('p_')}": value
            for name, value in self.defaults.as_dict().items()
        }
        box = asdict(self.bounds) | (asdict(self.bounds_of_F) if self.bounds_of_F else {})
        variant = {} if self.variant.is_plain else {"variant": self.variant.as_json()}
        return (
            defaults
            | variant
            | {
                "mastery_threshold": self.mastery_threshold,
                "min_attempts_for_fit": self.min_attempts_for_fit,
                "constraints": box,
                "degeneracy_checks": {
                    _STATES_DIFFER: self.require_learned_better_than_unlearned,
                    "min_learning_gain": self.min_learning_gain,
                },
            }
        )

    @classmethod
    def from_json(cls, params: Mapping[str, Any]) -> AlgoParams:
        """Read the JSON of `algo_params`; a key that is missing keeps its default.

        Raises `UnknownSettingsError` for keys that this release does not know.
        """
        require_known_settings(params)
        base = cls()
        variant = Variant.from_json(_section(params, "variant"))
        edges = _section(params, "constraints")
        box = {key: _number(edges, key, 0.0) for key in edges}
        of_F = {key: box.pop(key) for key in _BOUNDS_OF_F & box.keys()}
        if of_F and not variant.forgetting:
            raise BktError(
                f"{', '.join(sorted(of_F))} under constraints bounds p_F, which only a variant "
                'with forgetting has; add `"variant": {"forgetting": true}` or remove it.'
            )
        checks = _section(params, "degeneracy_checks")
        defaults = (
            _number(params, f"default_{name.removeprefix('p_')}", value)
            for name, value in FALLBACK_PARAMS.as_dict().items()
        )
        return cls(
            defaults=BktParams(*defaults),
            bounds=Bounds(**box),
            mastery_threshold=_number(params, "mastery_threshold", base.mastery_threshold),
            min_attempts_for_fit=_whole(
                params, "min_attempts_for_fit", base.min_attempts_for_fit
            ),
            require_learned_better_than_unlearned=bool(
                checks.get(_STATES_DIFFER, base.require_learned_better_than_unlearned)
            ),
            min_learning_gain=_number(checks, "min_learning_gain", base.min_learning_gain),
            variant=variant,
            bounds_of_F=ForgettingBounds(**of_F) if variant.forgetting else None,
        )


_BOUNDS_OF_F = frozenset(one.name for one in fields(ForgettingBounds))
#: The parts of the family that this release fits and replays.
_PARTS = frozenset(one.name for one in fields(Variant))
_STATES_DIFFER = "require_learned_better_than_unlearned"
#: The settings that are objects, and the keys of each.
_SECTIONS = {
    "constraints": frozenset(one.name for one in fields(Bounds)) | _BOUNDS_OF_F,
    "degeneracy_checks": frozenset((_STATES_DIFFER, "min_learning_gain")),
    "variant": _PARTS,
}
_SETTINGS = frozenset(
    (
        *(f"default_{name.removeprefix('p_')}" for name in PARAM_NAMES),
        "mastery_threshold",
        "min_attempts_for_fit",
        *_SECTIONS,
    )
)


def unknown_settings(params: Mapping[str, Any]) -> list[str]:
    """Return the keys of an algorithm's settings that this release does not know, sorted.

    A key inside an object is written as `constraints.L0_max`.
    """
    unknown = [key for key in params if key not in _SETTINGS]
    for name, keys in _SECTIONS.items():
        found = params.get(name)
        if isinstance(found, dict):
            unknown += [f"{name}.{key}" for key in found if key not in keys]
    return sorted(unknown)


def require_known_settings(params: Mapping[str, Any]) -> None:
    """Raise `UnknownSettingsError` if `unknown_settings` returns any key."""
    unknown = unknown_settings(params)
    if unknown:
        raise UnknownSettingsError(unknown=unknown, known=sorted(_SETTINGS))


def _section(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object under `name`, empty if there is none."""
    found = params.get(name, {})
    if not isinstance(found, dict):
        raise BktError(f"{name} of an algorithm must be an object, got {found!r}.")
    return found


def _number(values: Mapping[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BktError(f"{key} of an algorithm must be a number, got {value!r}.")
    return float(value)


def _whole(values: Mapping[str, Any], key: str, default: int) -> int:
    value = _number(values, key, default)
    if not value.is_integer():  # also refuses infinity and NaN
        raise BktError(f"{key} of an algorithm must be a whole number, got {value!r}.")
    return int(value)

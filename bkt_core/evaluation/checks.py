"""A measured condition, and the report of all conditions of one concept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(StrEnum):
    """What a check that does not pass leads to."""

    SKIP = "skip"  # the concept is not fitted
    REJECT = "reject"  # the fit is not usable
    COMPARE = "compare"  # what is in force stays
    HOLD = "hold"  # a person decides
    WARN = "warn"  # nothing but a mention


class Decision(StrEnum):
    """What becomes of a concept in a run; the words of `bkt_promotion_event`."""

    PROMOTED = "promoted"
    KEPT = "kept"
    REJECTED = "rejected"
    SKIPPED = "skipped"


#: The worst first: the severity that decides, and what it decides.
_DECIDES = (
    (Severity.SKIP, Decision.SKIPPED),
    (Severity.REJECT, Decision.REJECTED),
    (Severity.COMPARE, Decision.KEPT),
    (Severity.HOLD, Decision.KEPT),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One measured condition."""

    name: str
    passed: bool
    measured: float | None
    limit: float | None
    severity: Severity
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Plain values, also a row of a table of checks."""
        return {  # written out: a night of 5,000 concepts asks 170,000 times
            "name": self.name,
            "passed": self.passed,
            "measured": self.measured,
            "limit": self.limit,
            "severity": self.severity.value,
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Check:
        """Read what `as_json` wrote."""
        severity = Severity(values["severity"])
        return cls(
            values["name"],
            values["passed"],
            values["measured"],
            values["limit"],
            severity,
            values["sentence"],
        )


@dataclass(frozen=True, slots=True)
class GateReport:
    """All checks of one concept, passed or not."""

    checks: tuple[Check, ...]

    def failed(self, severity: Severity) -> tuple[Check, ...]:
        """The checks of one severity that did not pass."""
        return tuple(c for c in self.checks if c.severity is severity and not c.passed)

    @property
    def decision(self) -> Decision:
        """What the worst failure decides."""
        for severity, decision in _DECIDES:
            if self.failed(severity):
                return decision
        return Decision.PROMOTED

    @property
    def deciding(self) -> tuple[Check, ...]:
        """The failed checks that the decision rests on; none if it is to promote."""
        for severity, _ in _DECIDES:
            if failed := self.failed(severity):
                return failed
        return ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence per failed check that decided."""
        return tuple(check.sentence for check in self.deciding)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """What is worth a mention."""
        return self.failed(Severity.WARN)

    def with_checks(self, *checks: Check) -> GateReport:
        """The same report with further checks."""
        return GateReport((*self.checks, *checks))

    def as_json(self) -> list[dict[str, Any]]:
        """Plain values from which `from_json` makes an equal report."""
        return [check.as_json() for check in self.checks]

    @classmethod
    def from_json(cls, values: list[dict[str, Any]]) -> GateReport:
        """Read what `as_json` wrote."""
        return cls(tuple(Check.from_json(check) for check in values))

"""A measured condition, and the report of all conditions of one concept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(StrEnum):
    """The consequence of a check that does not pass."""

    SKIP = "skip"  # the concept is not fitted
    REJECT = "reject"  # the fit is not usable
    COMPARE = "compare"  # the parameters in force are kept
    HOLD = "hold"  # a person must approve
    WARN = "warn"  # the check is only reported


class Decision(StrEnum):
    """The decision on a concept in a run, in the words of `bkt_promotion_event`."""

    PROMOTED = "promoted"
    KEPT = "kept"
    REJECTED = "rejected"
    SKIPPED = "skipped"


#: Severities, worst first, with the decision that each of them leads to.
_DECIDES = (
    (Severity.SKIP, Decision.SKIPPED),
    (Severity.REJECT, Decision.REJECTED),
    (Severity.COMPARE, Decision.KEPT),
    (Severity.HOLD, Decision.KEPT),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One measured condition of one concept."""

    name: str
    passed: bool
    measured: float | None
    limit: float | None
    severity: Severity
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values, which are also a row of a table of checks."""
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
        """Build the object from the values that `as_json` returned."""
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
    """All checks of one concept, passed or failed."""

    checks: tuple[Check, ...]

    def failed(self, severity: Severity) -> tuple[Check, ...]:
        """Return the checks of one severity that failed."""
        return tuple(c for c in self.checks if c.severity is severity and not c.passed)

    @property
    def decision(self) -> Decision:
        """The decision of the worst failed check."""
        for severity, decision in _DECIDES:
            if self.failed(severity):
                return decision
        return Decision.PROMOTED

    @property
    def deciding(self) -> tuple[Check, ...]:
        """The failed checks on which the decision is based; empty if it is to promote."""
        for severity, _ in _DECIDES:
            if failed := self.failed(severity):
                return failed
        return ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each check in `deciding`."""
        return tuple(check.sentence for check in self.deciding)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The failed checks that are only reported."""
        return self.failed(Severity.WARN)

    def with_checks(self, *checks: Check) -> GateReport:
        """Return the same report with further checks appended."""
        return GateReport((*self.checks, *checks))

    def as_json(self) -> list[dict[str, Any]]:
        """Return the fields as plain values; `from_json` is the inverse."""
        return [check.as_json() for check in self.checks]

    @classmethod
    def from_json(cls, values: list[dict[str, Any]]) -> GateReport:
        """Build the object from the values that `as_json` returned."""
        return cls(tuple(Check.from_json(check) for check in values))

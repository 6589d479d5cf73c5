"""One finding of `bkt doctor`: a part of the installation, its level, and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings


class Level(StrEnum):
    """The level of a finding; only `fail` makes `bkt doctor` exit with an error."""

    OK = "ok"
    WARN = "warn"  # works, but not as production should
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the installation, its state, and what to do about it."""

    name: str
    level: Level
    message: str
    remedy: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "name": self.name,
            "verdict": self.level.value,
            "told": self.message,
            "remedy": self.remedy,
        }


#: A check of one part of the installation, which yields one or several findings.
Examination = Callable[["Settings"], Iterator[Finding]]


def ok(name: str, message: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(name=name, level=Level.OK, message=message)


def warn(name: str, message: str, remedy: str) -> Finding:
    """Return a finding that should be different in production."""
    return Finding(name=name, level=Level.WARN, message=message, remedy=remedy)


def fail(name: str, message: str, remedy: str) -> Finding:
    """Return a finding that breaks runs."""
    return Finding(name=name, level=Level.FAIL, message=message, remedy=remedy)

"""One finding of `bkt doctor`: a part of the installation, its level, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings


class Level(StrEnum):
    """What a finding comes to; only `fail` makes `bkt doctor` exit with an error."""

    OK = "ok"
    WARN = "warn"  # works here, but not as production should
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the installation, how it is, and what to do about it."""

    name: str
    level: Level
    message: str
    remedy: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return {
            "name": self.name,
            "verdict": self.level.value,
            "told": self.message,
            "remedy": self.remedy,
        }


#: Looks at one part, and finds one thing or several.
Examination = Callable[["Settings"], Iterator[Finding]]


def ok(name: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(name=name, level=Level.OK, message=message)


def warn(name: str, message: str, remedy: str) -> Finding:
    """Something that production would have otherwise."""
    return Finding(name=name, level=Level.WARN, message=message, remedy=remedy)


def fail(name: str, message: str, remedy: str) -> Finding:
    """Something that breaks runs, now or tonight."""
    return Finding(name=name, level=Level.FAIL, message=message, remedy=remedy)

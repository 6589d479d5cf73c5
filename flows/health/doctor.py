"""What is wrong here and its remedy: every part examined, none of them changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bkt_core.errors import BktError

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings


class Verdict(StrEnum):
    """What a finding comes to; only `fail` makes `bkt doctor` exit with an error."""

    OK = "ok"
    WARN = "warn"  # works here, but not as production should
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the installation, how it is, and what to do about it."""

    name: str
    verdict: Verdict
    told: str
    remedy: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "told": self.told,
            "remedy": self.remedy,
        }


#: Looks at one part, and finds one thing or several.
Examination = Callable[["Settings"], Iterator[Finding]]


def ok(name: str, told: str) -> Finding:
    """Nothing to do."""
    return Finding(name=name, verdict=Verdict.OK, told=told)


def warn(name: str, told: str, remedy: str) -> Finding:
    """Something that production would have otherwise."""
    return Finding(name=name, verdict=Verdict.WARN, told=told, remedy=remedy)


def fail(name: str, told: str, remedy: str) -> Finding:
    """Something that breaks runs, now or tonight."""
    return Finding(name=name, verdict=Verdict.FAIL, told=told, remedy=remedy)


def examine(settings: Settings, *, debug: bool = False) -> list[Finding]:
    """Examine everything; one part that cannot be examined does not hide the others.

    `debug` lets what no examination foresaw through, with its traceback.
    """
    from flows.health.machine import MACHINE
    from flows.health.services import SERVICES

    return [
        finding
        for name, examination in {**MACHINE, **SERVICES}.items()
        for finding in _examined(name, examination, settings, debug=debug)
    ]


def _examined(
    name: str, examination: Examination, settings: Settings, *, debug: bool
) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in examination(settings):
            found.append(finding)  # noqa: PERF402 - what was found before an error stays
    except BktError as error:
        found.append(fail(name, str(error), "Do what the sentence says."))
    except Exception as error:
        if debug:
            raise
        found.append(
            fail(
                name,
                f"could not be examined ({type(error).__name__}: {error})",
                "Run `bkt doctor --debug` and report what it prints.",
            )
        )
    return found

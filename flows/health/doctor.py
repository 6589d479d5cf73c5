"""`bkt doctor`: checks every part of the installation and changes none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.errors import BktError
from flows.health.findings import Examination, Finding, fail
from flows.health.machine import MACHINE
from flows.health.services import SERVICES

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings


def examine(settings: Settings, *, debug: bool = False) -> list[Finding]:
    """Examine everything; one part that cannot be examined does not hide the others.

    `debug` lets what no examination foresaw through, with its traceback.
    """
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

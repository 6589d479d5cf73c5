"""`bkt doctor`: check every part of the installation without changing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.errors import BktError, UsageError
from flows.health.findings import Examination, Finding, fail
from flows.health.machine import MACHINE
from flows.health.services import SERVICES
from flows.health.stamps import NAME as STAMPS
from flows.health.stamps import examine_stamps
from flows.health.versions import NAME, examine_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bkt_settings.pipeline import Settings

#: Every check, by the name that `--check` takes.
EXAMINATIONS: dict[str, Examination] = {
    **MACHINE,
    **SERVICES,
    NAME: examine_versions,
    STAMPS: examine_stamps,
}


def examine(
    settings: Settings, *, only: Sequence[str] = (), debug: bool = False
) -> list[Finding]:
    """Run all checks, or those in `only`; an error in one of them does not hide the others.

    With `debug`, unexpected errors are raised with their traceback.
    """
    unknown = [name for name in only if name not in EXAMINATIONS]
    if unknown:
        raise UsageError(
            f"--check takes {', '.join(EXAMINATIONS)}; {unknown[0]!r} is none of them."
        )
    return [
        finding
        for name, examination in EXAMINATIONS.items()
        if not only or name in only
        for finding in _examined(name, examination, settings, debug=debug)
    ]


def _examined(
    name: str, examination: Examination, settings: Settings, *, debug: bool
) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in examination(settings):
            found.append(finding)  # noqa: PERF402 - findings before an error are kept
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

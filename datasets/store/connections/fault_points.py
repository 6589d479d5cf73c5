"""Named points at which the torture harness may kill the process.

In production `reached` checks a variable that is None and returns. Nothing in this package, the
settings or the environment sets it; only a harness that imports this module does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: All points: one before and one after each durable write.
FAULT_POINTS = (
    "online: began",
    "online: locked",
    "online: state locked",
    "online: attempt inserted",
    "online: state written",
    "online: committed",
    "import: locked",
    "import: attempts inserted",
    "import: attempts corrected",
    "import: states marked",
    "import: committed",
    "stamp: batch written",
    "stamp: batch committed",
    "switch: locked",
    "switch: deactivated",
    "switch: inserted",
    "switch: committed",
    "sweep: chunk staged",
    "sweep: chunk written",
    "sweep: chunk committed",
    "snapshot: rows written",
    "snapshot: committed",
    "rollback: switched",
    "rollback: committed",
    "activate: locked",
    "activate: flipped",
    "activate: recorded",
    "activate: committed",
    "release: recorded",
    "release: committed",
    "erase: tombstone written",
    "erase: tombstone committed",
    "erase: rows deleted",
    "erase: committed",
    "erase: tombstone lifted",
    "erase: lift committed",
    "run: started",
    "run: finished",
)

_harness: Callable[[str], None] | None = None


def reached(point: str) -> None:
    """Report to the harness, if one is installed, that execution has reached a point."""
    if _harness is not None:
        _harness(point)


def install_harness(harness: Callable[[str], None] | None) -> None:
    """Install a function that is called at every point; None removes it."""
    global _harness
    if harness is not None and not callable(harness):
        raise TypeError(f"A harness is a function of a point's name, got {harness!r}.")
    _harness = harness

"""`bkt stamp`: give stamps to attempts that earlier releases wrote."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from bkt_settings.pipeline import load_settings
from flows.actions.stamp import stamp as stamp_attempts
from flows.cli.output import DEFAULT_OUTPUT, Output

if TYPE_CHECKING:
    from flows.actions.stamp import Stamped


def stamp(*, output: Output = DEFAULT_OUTPUT) -> int:
    """Give every attempt without one its stamp: what was known of its user before it.

    It is needed once after the upgrade, before a version with history is fitted. The service,
    imports and nights may go on meanwhile, and it may be stopped and repeated. The next
    extraction reads the log in full.
    """
    done = stamp_attempts(load_settings(), after_batch=_progress)
    output.give(asdict(done), lambda console: console.print(_said(done)))
    return 0


def _progress(n_stamped: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{n_stamped:,} attempts stamped")


def _said(done: Stamped) -> str:
    if not done.left:
        return f"{done.stamped:,} attempts stamped; every attempt has a stamp."
    return (
        f"{done.stamped:,} attempts stamped; {done.left:,} were being changed by others or "
        "came in meanwhile. Run `bkt stamp` again."
    )

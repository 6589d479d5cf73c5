"""`bkt prune`: apply retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_settings.pipeline import load_settings
from flows.actions.prune import prune_everything
from flows.cli.output import DEFAULT_OUTPUT, Output

if TYPE_CHECKING:
    pass


def prune(*, output: Output = DEFAULT_OUTPUT) -> int:
    """Remove extractions, fits, run files, quarantines and snapshots past their retention."""
    pruned = prune_everything(load_settings())
    output.give(
        pruned,
        lambda console: console.print(
            ", ".join(f"{count:,} {name}" for name, count in pruned.items()) + " removed."
        ),
    )
    return 0

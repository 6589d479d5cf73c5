"""`bkt erase`: remove a user and all of their data."""

from __future__ import annotations

from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import load_settings
from datasets.extracts.retention import forget_user
from datasets.store.attempts.erasure import erase_user, lift
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database

if TYPE_CHECKING:
    pass


def erase(
    user: str,
    /,
    *,
    lift_: Annotated[bool, Parameter(name="--lift", negative="")] = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Erase a user's attempts, states and snapshots, and refuse the user until `--lift`.

    Parameters
    ----------
    user
        The user's id.
    lift_
        Accept the user again; what was erased stays erased.
    """
    settings, at = load_settings(), datetime.now(UTC)
    with open_database(settings) as engine:
        if lift_:
            with engine.begin() as conn:
                was_erased = lift(conn, user)
            output.give(
                {"lifted": was_erased},
                lambda console: console.print(
                    "Lifted." if was_erased else "There was no tombstone to lift."
                ),
            )
            return 0
        erased = erase_user(engine, user, at=at, actor=getuser())
    forgotten = forget_user(settings.data_dir, user, at=at)
    stored = any((erased.attempts, erased.states, erased.snapshots, forgotten.files))
    said = (
        f"Erased {erased.attempts:,} attempts, {erased.states:,} states and "
        f"{erased.snapshots:,} snapshots, {forgotten.extracts:,} extracts and rows of "
        f"{forgotten.files:,} files; a tombstone refuses the user until --lift."
        if stored
        else f"Nothing was stored of {user!r}; a tombstone now refuses that id. "
        "If it was misspelt, the same command with --lift removes the tombstone."
    )
    output.give(
        {
            "attempts": erased.attempts,
            "states": erased.states,
            "snapshots": erased.snapshots,
            "extracts": forgotten.extracts,
            "files": forgotten.files,
        },
        lambda console: console.print(said, markup=False),
    )
    return 0

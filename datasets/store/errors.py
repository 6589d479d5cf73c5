"""Errors of the store; each message has the facts and a remedy."""

from __future__ import annotations

from bkt_core.errors import BadInputError, BktError


class DatabaseError(BktError):
    """The database cannot be used as it is: unreachable, not migrated, or busy."""


class NotMigratedError(DatabaseError):
    """The schema of the database is not the one that this program was written for."""

    def __init__(self, *, url: str, found: str | None, expected: str) -> None:
        came = f"revision {found}" if found else "no schema"
        super().__init__(
            f"The database {url} must be at schema revision {expected}, it has {came}; "
            "run `bkt init`."
        )
        self.found = found
        self.expected = expected


class LockedError(BktError):
    """Another run holds the run lock."""

    exit_code = 5

    def __init__(self, *, holder: str) -> None:
        super().__init__(
            f"Only one run at a time may write: {holder} is still running. "
            "Wait until it ends, or stop it; its lock goes with its process."
        )
        self.holder = holder


class RunLockLostError(BktError):
    """The connection that held the run lock was lost, so that another run may have begun."""

    exit_code = 5

    def __init__(self) -> None:
        super().__init__(
            "The run lock was lost with its connection to the database, so another run may "
            "have begun; nothing more was written. Run the command again: it resumes after "
            "what was committed."
        )


class ErasedUserError(BadInputError):
    """The user was erased, and no data of the user is accepted."""

    def __init__(self) -> None:
        super().__init__(
            "This user was erased, so nothing of theirs is accepted; "
            "`bkt erase --lift USER` admits the user again."
        )


class IdempotencyConflictError(BadInputError):
    """The same idempotency key was used for two different attempts."""

    def __init__(self, *, key: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} already belongs to another attempt; "
            "give each attempt its own key."
        )
        self.key = key


class RollbackError(BadInputError):
    """A rollback names parameters that cannot be made active."""


class IncumbentChangedError(RollbackError):
    """The parameters in force changed before a rollback of the earlier ones."""

    def __init__(self, *, concept_id: str, expected: int, found: int | None) -> None:
        now = "the defaults are" if found is None else f"row {found} is"
        super().__init__(
            f"Row {expected} must still be in force for {concept_id!r} to be rolled back, but "
            f"{now} in force; nothing was changed. `bkt params --history` shows what happened."
        )
        self.concept_id = concept_id
        self.found = found


class UnknownAlgorithmError(BadInputError):
    """There is no algorithm version of that name."""

    def __init__(self, *, version: str | None, known: tuple[str, ...]) -> None:
        there = ", ".join(known) or "none"
        if version is None or not known:
            asked = f"version {version!r}" if version else "an ACTIVE version"
            said = f"The database must hold {asked} of the algorithm, it has {there}; "
            said += "run `bkt init` to seed it."
        else:
            said = f"There is no algorithm version {version!r}, the database has {there}; "
            said += "`bkt algo list --all` shows them, `bkt algo add` adds one."
        super().__init__(said)
        self.version = version

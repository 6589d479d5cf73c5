"""What the store refuses, each with its facts and its remedy."""

from __future__ import annotations

from bkt_core.errors import BadInputError, BktError


class DatabaseError(BktError):
    """The database cannot be used as it is: unreachable, not migrated, or busy."""


class NotMigratedError(DatabaseError):
    """The schema is not the one that this program was written for."""

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


class ErasedUserError(BadInputError):
    """The user was erased, and nothing of theirs may come in."""

    def __init__(self) -> None:
        super().__init__(
            "This user was erased, so nothing of theirs is accepted; "
            "`bkt erase --lift USER` admits the user again."
        )


class IdempotencyConflictError(BadInputError):
    """One idempotency key, two different attempts."""

    def __init__(self, *, key: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} already belongs to another attempt; "
            "give each attempt its own key."
        )
        self.key = key


class RollbackError(BadInputError):
    """A rollback that names something that cannot be made active."""


class UnknownAlgorithmError(BadInputError):
    """No algorithm version of that name."""

    def __init__(self, *, version: str | None, known: tuple[str, ...]) -> None:
        asked = f"version {version!r}" if version else "an ACTIVE version"
        super().__init__(
            f"The database must hold {asked} of the algorithm, it has "
            f"{', '.join(known) or 'none'}; run `bkt init` to seed it."
        )
        self.version = version

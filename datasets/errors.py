"""Errors about files, logs and rows that cannot be used as they are."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from bkt_core.errors import BadInputError, BktError


class FileFormatError(BadInputError):
    """A file cannot be read as an attempt log; none of its rows were used."""


class ExtractError(BadInputError):
    """An extraction on disk is missing, corrupt, or does not match its manifest."""


class StorageError(BktError):
    """A disk or a folder refused a write."""


#: System error -> the cause, and what to do about it.
_STORAGE = {
    errno.ENOSPC: "the disk is full. Make room (`bkt prune`), then run the command again",
    errno.EDQUOT: "the quota is used up. Make room (`bkt prune`), then run the command again",
    errno.EFBIG: "the file would be too large for this account or disk (see `ulimit -f`)",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "it is forbidden. Give the account that runs `bkt` write permission, or choose "
        "another folder (BKT_DATA_DIR)",
    ),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
        "there is no such folder and none can be made. Check the path (BKT_DATA_DIR)",
    ),
}
#: Pattern of the error number in messages of libraries that do not pass it on.
_OS_ERROR = re.compile(r"os error (\d+)|errno (\d+)", re.IGNORECASE)


def storage_error(error: Exception, path: Path | str | None = None) -> StorageError | None:
    """Turn an error of the operating system into a `StorageError`; None for other errors."""
    number = getattr(error, "errno", None)
    found = _OS_ERROR.search(str(error))
    if number is None and found is not None:
        number = int(found[1] or found[2])
    cause = None if number is None else _STORAGE.get(number)
    if cause is None:
        return None
    where = path or getattr(error, "filename", None) or "A file"
    return StorageError(f"{where} cannot be written: {cause}.")


class AccountingError(BktError):
    """Rows are neither accepted, duplicates, quarantined nor skipped: a defect of this code."""

    def __init__(
        self, *, read: int, accepted: int, duplicates: int, quarantined: int, skipped: int = 0
    ) -> None:
        super().__init__(
            f"Read {read} rows, but accepted {accepted} + duplicates {duplicates} + "
            f"quarantined {quarantined} + skipped {skipped} = "
            f"{accepted + duplicates + quarantined + skipped}; "
            "nothing was kept. This is a defect, please report it with the input."
        )


class QuarantineLimitError(BktError):
    """Too many rows were quarantined to trust the remaining ones (docs/tables.md)."""

    exit_code = 3

    def __init__(self, *, quarantined: int, read: int, limit: float, where: str) -> None:
        super().__init__(
            f"{quarantined} of {read} rows ({quarantined / max(read, 1):.1%}) broke a rule, "
            f"more than the allowed {limit:.1%}; see {where} for the reasons, "
            "fix the source or raise the limit."
        )
        self.quarantined = quarantined
        self.read = read
        self.limit = limit


class NothingAcceptedError(BktError):
    """Every row of an import was quarantined; nothing was written to the database."""

    exit_code = 3

    def __init__(
        self, *, where: str, n_rows: int, rule: str, samples: list[str], advice: str
    ) -> None:
        shown = ", ".join(repr(sample[:60]) for sample in samples)
        super().__init__(
            f"All {n_rows:,} rows of {where} were quarantined, most by the rule {rule}"
            + (f", with values such as {shown}. " if shown else ". ")
            + f"{advice} Nothing was imported; `bkt import --preview` shows how a file would "
            "be read."
        )
        self.rule = rule

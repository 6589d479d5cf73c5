"""What the border refuses: files, logs and rows that cannot be used as they came."""

from __future__ import annotations

from bkt_core.errors import BadInputError, BktError


class FileFormatError(BadInputError):
    """A file that cannot be read as an attempt log; nothing of it was used."""


class ExtractError(BadInputError):
    """An extraction on disk that is missing, broken, or not what its manifest says."""


class AccountingError(BktError):
    """Rows that are neither accepted, nor duplicates, nor quarantined: a defect of ours."""

    def __init__(self, *, read: int, accepted: int, duplicates: int, quarantined: int) -> None:
        super().__init__(
            f"Read {read} rows, but accepted {accepted} + duplicates {duplicates} + "
            f"quarantined {quarantined} = {accepted + duplicates + quarantined}; "
            "nothing was kept. This is a defect, please report it with the input."
        )


class QuarantineLimitError(BktError):
    """Too many rows were set aside to trust what is left (docs/tables.md)."""

    exit_code = 3

    def __init__(self, *, quarantined: int, read: int, limit: float, where: str) -> None:
        super().__init__(
            f"{quarantined} of {read} rows ({quarantined / max(read, 1):.1%}) broke a rule, "
            f"more than the allowed {limit:.1%}; see {where} for the reasons, "
            "mend the source or raise the limit."
        )
        self.quarantined = quarantined
        self.read = read
        self.limit = limit

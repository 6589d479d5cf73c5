"""Count rows: each is accepted, a duplicate, quarantined or skipped, and the counts add up."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.errors import AccountingError


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Row counts of one import or extraction.

    Raises `AccountingError` if the counts do not add up to the rows read.
    """

    read: int
    accepted: int
    duplicates: int
    quarantined: int
    #: Rows of a file that the user declared not to be attempts.
    skipped: int = 0

    def __post_init__(self) -> None:
        parts = (self.accepted, self.duplicates, self.quarantined, self.skipped)
        if min(parts) < 0 or sum(parts) != self.read:
            raise AccountingError(**self.as_dict(), skipped=self.skipped)

    def __add__(self, other: RowCounts) -> RowCounts:
        """Add two counts field by field."""
        return RowCounts(
            **{name: n + other.as_dict()[name] for name, n in self.as_dict().items()},
            skipped=self.skipped + other.skipped,
        )

    @property
    def quarantined_share(self) -> float:
        """The share of quarantined rows among those read and not skipped.

        0 without such rows.
        """
        judged = self.read - self.skipped
        return self.quarantined / judged if judged else 0.0

    def as_dict(self) -> dict[str, int]:
        """Return the four counts that every run has, for manifests and `--json`."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
        }


NO_ROWS = RowCounts(read=0, accepted=0, duplicates=0, quarantined=0)

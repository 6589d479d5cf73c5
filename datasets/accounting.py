"""Every row is accepted, a duplicate, quarantined or skipped; they add up to what was read."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.errors import AccountingError


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """What became of the rows of one import or one extraction; cannot fail to add up."""

    read: int
    accepted: int
    duplicates: int
    quarantined: int
    #: Rows of a file that were said to be no attempts.
    skipped: int = 0

    def __post_init__(self) -> None:
        parts = (self.accepted, self.duplicates, self.quarantined, self.skipped)
        if min(parts) < 0 or sum(parts) != self.read:
            raise AccountingError(**self.as_dict(), skipped=self.skipped)

    def __add__(self, other: RowCounts) -> RowCounts:
        """The counts of both."""
        return RowCounts(
            **{name: n + other.as_dict()[name] for name, n in self.as_dict().items()},
            skipped=self.skipped + other.skipped,
        )

    @property
    def quarantined_share(self) -> float:
        """Quarantined rows of those read and not skipped, 0 where there were none."""
        judged = self.read - self.skipped
        return self.quarantined / judged if judged else 0.0

    def as_dict(self) -> dict[str, int]:
        """The four counts of every run, as manifests and `--json` print them."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
        }


NO_ROWS = RowCounts(read=0, accepted=0, duplicates=0, quarantined=0)

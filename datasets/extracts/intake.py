"""The first pass over the log: judge rows, assign codes to ids, put rows into buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from datasets.contracts import LOG_RULES
from datasets.extracts.broken import BrokenRows
from datasets.extracts.buckets import RowBuckets
from datasets.id_codes import IdCodes
from datasets.row_kernels import BARRED, Tally, sift

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.extracts.details import DetailRows
    from datasets.row_kernels import RowBatch

_USER, _CONCEPT = 1, 2


class Intake:
    """The state of the first pass; memory grows with the number of ids, not of rows.

    `known_users` and `known_concepts` are the ids of a base to which rows are added: they keep
    their codes and count as already seen.
    """

    def __init__(
        self,
        folder: Path,
        *,
        latest_us: int,
        erased: Sequence[str] = (),
        known_users: pa.Array | None = None,
        known_concepts: pa.Array | None = None,
        details: DetailRows | None = None,
    ) -> None:
        self.users = IdCodes()
        self.concepts = IdCodes()
        self.buckets = RowBuckets(folder)
        self.broken = BrokenRows(folder, self.users, self.concepts)
        #: Question and stamp of each accepted row; None if nobody asks for them.
        self.details = details
        self.n_read = 0
        self._latest_us = latest_us
        self._by_rule = np.zeros(len(LOG_RULES), np.int64)
        self._tally = Tally(
            digests=np.zeros(0, np.uint64),
            counts=np.zeros(0, np.int64),
            active=np.zeros(0, np.bool_),
        )
        if known_users is not None:
            self.users.encode(known_users)
        if known_concepts is not None:
            self.concepts.encode(known_concepts)
        self.n_known_users, self.n_known_concepts = len(self.users), len(self.concepts)
        barred = self.users.encode(pa.array(erased, pa.string()))
        self.users.known.status[barred] = BARRED
        self._make_room()
        self._tally.active[: self.n_known_users] = True

    def take(self, batch: pa.RecordBatch, columns: RowBatch) -> None:
        """Judge one batch and put its accepted rows into buckets."""
        user_codes = self.users.encode(batch.column(_USER))
        concept_codes = self.concepts.encode(batch.column(_CONCEPT))
        self._make_room()
        rules = np.empty(batch.num_rows, np.uint8)
        done = 0
        while done < batch.num_rows:
            done = sift(
                columns, user_codes, concept_codes, self.users.known, self.concepts.known,
                self._latest_us, self.buckets.waiting, self._tally, rules, done,
            )  # fmt: skip
            self.buckets.spill_full()
        if self.details is not None:
            hashes = self.concepts.hashes()
            self.details.take(batch, columns.ids, rules, concept_codes, hashes)
        self.n_read += batch.num_rows
        self._by_rule += np.bincount(rules, minlength=len(LOG_RULES))
        self.broken.add(batch, columns, rules, user_codes, concept_codes)

    @property
    def digests(self) -> NDArray[np.uint64]:
        """The sum modulo 2**64 of the hashes of each concept's new rows, by code."""
        return self._tally.digests[: len(self.concepts)]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of new accepted rows of each concept, by code."""
        return self._tally.counts[: len(self.concepts)]

    @property
    def active_users(self) -> NDArray[np.bool_]:
        """Whether each user has an accepted row, by code."""
        return self._tally.active[: len(self.users)]

    @property
    def active_concepts(self) -> NDArray[np.bool_]:
        """Whether each concept has an accepted row, by code."""
        return (self.counts > 0) | (np.arange(len(self.concepts)) < self.n_known_concepts)

    @property
    def reasons(self) -> dict[str, int]:
        """The number of quarantined rows by the first rule that they broke."""
        return {
            rule: int(n) for rule, n in zip(LOG_RULES[1:], self._by_rule[1:], strict=True) if n
        }

    @property
    def n_accepted(self) -> int:
        """The number of rows that broke no rule."""
        return int(self._by_rule[0])

    def _make_room(self) -> None:
        size, n_users = self.concepts.known.hashes.size, self.users.known.hashes.size
        tally = self._tally
        if tally.counts.size < size:
            wider = size - tally.counts.size
            tally = tally._replace(
                digests=np.pad(tally.digests, (0, wider)),
                counts=np.pad(tally.counts, (0, wider)),
            )
        if tally.active.size < n_users:
            tally = tally._replace(
                active=np.pad(tally.active, (0, n_users - tally.active.size))
            )
        self._tally = tally

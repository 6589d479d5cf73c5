"""The first pass over the log: rows judged, ids to codes, good rows to buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from datasets.contracts import LOG_RULES
from datasets.id_codes import IdCodes
from datasets.quarantine import MAX_ROWS
from datasets.row_buckets import RowBuckets
from datasets.row_kernels import Tally, sift

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.row_kernels import RowBatch

_USER, _CONCEPT = 1, 2
#: Keys with a broken row are made unique whenever this many have gathered.
_KEYS_AT_ONCE = 1_000_000


class Intake:
    """Everything that the first pass has learned; memory grows with ids, not with rows."""

    def __init__(self, folder: Path, *, latest_us: int) -> None:
        self.users = IdCodes()
        self.concepts = IdCodes()
        self.buckets = RowBuckets(folder)
        self.n_read = 0
        self._latest_us = latest_us
        self._tally = Tally(
            digests=np.zeros(0, np.uint64),
            counts=np.zeros(0, np.int64),
            active=np.zeros(0, np.bool_),
        )
        self._by_rule = np.zeros(len(LOG_RULES), np.int64)
        self._broken: list[pl.DataFrame] = []
        self._n_kept_broken = 0
        self._broken_keys: list[NDArray[np.int64]] = []

    def take(self, batch: pa.RecordBatch, columns: RowBatch) -> None:
        """Judge one batch and put its good rows into buckets."""
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
        self.n_read += batch.num_rows
        by_rule = np.bincount(rules, minlength=len(LOG_RULES))
        self._by_rule += by_rule
        if by_rule[1:].any():
            self._set_aside(batch, rules, user_codes, concept_codes)

    @property
    def digests(self) -> NDArray[np.uint64]:
        """The wrapping sum of each concept's row hashes, by code."""
        return self._tally.digests[: len(self.concepts)]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Good rows of each concept, by code."""
        return self._tally.counts[: len(self.concepts)]

    @property
    def active_users(self) -> NDArray[np.bool_]:
        """Which users have a good row, by code."""
        return self._tally.active[: len(self.users)]

    @property
    def reasons(self) -> dict[str, int]:
        """Rule -> rows that broke it first."""
        return {
            rule: int(n) for rule, n in zip(LOG_RULES[1:], self._by_rule[1:], strict=True) if n
        }

    @property
    def n_accepted(self) -> int:
        """Rows that broke no rule."""
        return int(self._by_rule[0])

    def broken_rows(self) -> pl.DataFrame:
        """Rows that broke a rule, at most `MAX_ROWS` of them."""
        empty = pl.DataFrame(schema=_BROKEN_SCHEMA)
        return pl.concat([empty, *self._broken]).head(MAX_ROWS)

    def broken_keys(self) -> pl.DataFrame:
        """Every (user_id, concept_id) with a broken row, as far as both are ids."""
        keys = np.unique(np.concatenate([np.zeros(0, np.int64), *self._broken_keys]))
        concepts, users = keys >> 32, keys & 0xFFFFFFFF
        return pl.DataFrame(
            {
                "user_id": pl.Series(_texts(self.users, users), dtype=pl.String),
                "concept_id": pl.Series(_texts(self.concepts, concepts), dtype=pl.String),
            }
        )

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

    def _set_aside(
        self,
        batch: pa.RecordBatch,
        rules: NDArray[np.uint8],
        user_codes: NDArray[np.int32],
        concept_codes: NDArray[np.int32],
    ) -> None:
        places = np.flatnonzero(rules)
        users, concepts = user_codes[places], concept_codes[places]
        fit = (users >= 0) & (concepts >= 0)
        fit[fit] = self.users.known.fits[users[fit]] & self.concepts.known.fits[concepts[fit]]
        self._broken_keys.append(
            np.unique(concepts[fit].astype(np.int64) << 32 | users[fit].astype(np.int64))
        )
        if sum(keys.size for keys in self._broken_keys) > _KEYS_AT_ONCE:
            self._broken_keys = [np.unique(np.concatenate(self._broken_keys))]
        places = places[: MAX_ROWS - self._n_kept_broken]
        if places.size:
            self._broken.append(_as_text(batch.take(pa.array(places)), rules[places]))
            self._n_kept_broken += places.size


_BROKEN_SCHEMA = {
    "id": pl.Int64,
    "user_id": pl.String,
    "concept_id": pl.String,
    "correct": pl.String,
    "attempted_at": pl.String,
    "rule": pl.String,
}


def _texts(codes_of: IdCodes, codes: NDArray[np.int64]) -> list[str]:
    return [str(text) for text in codes_of.ids(codes).to_pylist()]


def _as_text(rows: pa.RecordBatch, rules: NDArray[np.uint8]) -> pl.DataFrame:
    """Broken rows as they can be looked at: bytes that are no UTF-8 are escaped."""
    columns = {
        "id": rows.column(0).cast(pa.int64()).to_pylist(),
        **{
            name: [_readable(value) for value in _values(rows.column(i))]
            for i, name in enumerate(("user_id", "concept_id", "correct", "attempted_at"), 1)
        },
        "rule": [LOG_RULES[rule] for rule in rules],
    }
    return pl.DataFrame(columns, schema=_BROKEN_SCHEMA)


def _values(array: pa.Array) -> list[object]:
    if pa.types.is_timestamp(array.type):
        # Out of Python's range where it is infinite, so as a number.
        return [_moment(us) for us in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_string(array.type):
        return list(array.cast(pa.binary()).to_pylist())
    return list(array.to_pylist())


def _moment(us: int | None) -> str | None:
    if us is None:
        return None
    text = np.datetime64(us, "us")
    return "infinity" if abs(us) > _BEYOND_TIME else str(text)


_BEYOND_TIME = 9_000_000_000_000_000_000


def _readable(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return str(value)

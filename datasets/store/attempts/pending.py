"""Attempts of an import that wait until all are read, because stamps follow the order of time.

A row of the last batch may be earlier than all others. Of each row about fifty bytes stay in
memory; the rows themselves are kept in a temporary file once they are many.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from bkt_core.stamps import Log, stamp_log
from datasets.id_codes import IdCodes
from datasets.store.attempts.stored_stamps import stored_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from datasets.store.attempts.stored_stamps import StoredLog

#: Rows that are kept in memory, about 500 bytes each; more of them go to a file.
KEPT_ROWS = 500_000
#: Rows whose stamps are computed at a time; all rows of a user are.
_ROWS_AT_A_TIME = 1_000_000
_PLAIN = pl.CompatLevel.oldest()
_STAMP = ("recent_outcomes", "n_before", "n_right_before")


class _Facts(NamedTuple):
    """What stamps follow from, in the order of the import."""

    user: NDArray[np.int32]
    moment: NDArray[np.int64]
    attempt: NDArray[np.int64]
    correct: NDArray[np.int8]


class PendingAttempts:
    """Batches of attempts, given back with their stamps."""

    def __init__(self) -> None:
        self._users = IdCodes()
        self._facts: list[_Facts] = []
        self._kept: list[pl.DataFrame] = []
        self._files: list[Path] = []
        self._n_kept = 0
        self._open = ExitStack()

    def add(self, attempts: pl.DataFrame) -> None:
        """Take a batch; users, times, outcomes and codes of attempts are not null."""
        if attempts.is_empty():
            return
        self._facts.append(
            _Facts(
                self._users.encode(attempts["user_id"].to_arrow(compat_level=_PLAIN)),
                attempts["attempted_at"].to_physical().to_numpy(),
                attempts["attempt_code"].to_numpy(),
                attempts["correct"].to_numpy(),
            )
        )
        self._kept.append(attempts)
        self._n_kept += attempts.height
        if self._n_kept > KEPT_ROWS:
            self._put_aside()

    def stamped(self, conn: Connection) -> Iterator[pl.DataFrame]:
        """Yield the batches in their order with their stamps, and forget them."""
        with self._open:
            if not self._facts:
                return
            facts = _Facts(
                *(np.concatenate(columns) for columns in zip(*self._facts, strict=True))
            )
            self._facts.clear()
            stamps = _stamps(facts, stored_log(conn, self._users, facts.user, facts.moment))
            first = 0
            for batch in self._batches():
                here = stamps[first : first + batch.height]
                first += batch.height
                known = pl.Series(here[:, 0] != 0)
                yield batch.with_columns(
                    pl.when(known).then(pl.Series(here[:, k])).alias(name)
                    for k, name in enumerate(_STAMP)
                )

    def _put_aside(self) -> None:
        if not self._files:
            self._folder = Path(
                self._open.enter_context(TemporaryDirectory(prefix="bkt-import-"))
            )
        for batch in self._kept:
            path = self._folder / f"{len(self._files):05d}.arrow"
            batch.write_ipc(path)
            self._files.append(path)
        self._kept.clear()
        self._n_kept = 0

    def _batches(self) -> Iterator[pl.DataFrame]:
        for path in self._files:
            yield pl.read_ipc(path)
            path.unlink()
        yield from self._kept


def _stamps(new: _Facts, stored: StoredLog) -> NDArray[np.int64]:
    """Return the stamps of new rows (n_rows, 3), 0 outcomes where there is none."""
    stamps = np.empty((new.user.size, 3), np.int64)
    order = np.argsort(new.user, kind="stable")
    users, first = new.user[order], 0
    while first < users.size:
        last = users[min(first + _ROWS_AT_A_TIME, users.size) - 1]
        stop = int(np.searchsorted(users, last, "right"))
        rows = order[first:stop]
        stamps[rows] = _stamps_of(
            _Facts._make(column[rows] for column in new), stored.of_users(users[first], last)
        )
        first = stop
    return stamps


def _stamps_of(new: _Facts, stored: StoredLog) -> NDArray[np.int64]:
    """Return the stamps of the new rows of some users, after all that is stored of them."""
    user = np.concatenate([stored.user, new.user]).astype(np.int64)
    moment = np.concatenate([stored.moment, new.moment])
    attempt = np.concatenate([stored.attempt, new.attempt])
    correct = np.concatenate([stored.correct, new.correct])
    is_new = np.arange(user.size) >= stored.user.size
    known = np.zeros((user.size, 3), np.int64)
    known[: stored.user.size] = stored.stamps
    order = np.lexsort((moment, user))  # stable: stored rows first, new ones as they came
    log = Log(
        user[order].astype(np.int64),
        moment[order],
        attempt[order],
        correct[order],
        is_new[order],
    )
    stamps = np.empty_like(known)
    stamps[order] = stamp_log(log, known[order])
    return stamps[stored.user.size :]

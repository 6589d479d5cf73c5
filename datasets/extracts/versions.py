"""Versions of states in the snapshot of the attempts, sorted, one file per shard.

They are processed like attempts: into buckets by concept, then shard by shard into the order of
(concept, user). Only the states of one shard are in memory at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.contracts import STATES_SCHEMA
from datasets.extracts.buckets import RowBuckets, sorted_rows
from datasets.extracts.shards import buckets_of
from datasets.parquet import read_table
from datasets.whole_files import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.extracts.files import Extract, ShardFile
    from datasets.extracts.intake import Intake
    from datasets.extracts.shards import Ranks


class StateVersions:
    """States on the way to their shard: concept, user and version, with canonical codes."""

    def __init__(self, folder: Path, intake: Intake, ranks: Ranks) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._buckets = RowBuckets(folder)
        self._intake, self._ranks = intake, ranks
        self._bucket_of = buckets_of(intake.concepts.hashes())

    def take(self, batch: pa.RecordBatch) -> None:
        """Add a batch of user_id, concept_id, version; keys without attempts are left out."""
        user_codes = self._intake.users.lookup(batch.column(0))
        concept_codes = self._intake.concepts.lookup(batch.column(1))
        users = _ranked(self._ranks.users, user_codes)
        concepts = _ranked(self._ranks.concepts, concept_codes)
        known = np.flatnonzero((users >= 0) & (concepts >= 0))
        rows = np.zeros((known.size, 3), np.int64)
        rows[:, 0] = concepts[known] << 32 | users[known] << 1
        rows[:, 1] = batch.column(2).to_numpy()[known]
        self._buckets.put(self._bucket_of[concept_codes[known]], rows)

    def write(self, folder: Path, shards: Iterable[ShardFile]) -> None:
        """Write the states of each shard; a shard without states has no file."""
        folder.mkdir()
        first = 0
        for number, shard in enumerate(shards):
            buckets = list(range(first, shard.below_bucket))
            if self._buckets.counts[buckets].any():
                self._write_one(folder / _name(number), buckets)
            first = shard.below_bucket

    def _write_one(self, path: Path, buckets: list[int]) -> None:
        n_concepts, n_users = self._ranks.concept_order.size, self._ranks.user_order.size
        pieces = sorted_rows(
            self._buckets,
            buckets,
            np.arange(n_concepts, dtype=np.int32),  # these rows already have canonical codes
            np.arange(n_users, dtype=np.int32),
            n_concepts=n_concepts,
            n_users=n_users,
        )
        with (
            whole_file(path) as unfinished,
            pq.ParquetWriter(unfinished, STATES_SCHEMA, compression="lz4") as writer,
        ):
            for rows in pieces:
                writer.write_table(_table(rows))
        for bucket in buckets:
            self._buckets.drop(bucket)


def states_of_shard(extract: Extract, shard: int) -> pa.Table:
    """Read the states of one shard: `contracts.STATES_SCHEMA`, sorted by (concept, user)."""
    path = extract.states / _name(shard)
    return read_table(path) if path.is_file() else STATES_SCHEMA.empty_table()


def _name(shard: int) -> str:
    return f"shard-{shard:04d}.parquet"


def _ranked(ranks: NDArray[np.int32], codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the canonical codes of first-pass codes, -1 where either is missing."""
    if not ranks.size:
        return np.full(codes.size, -1, np.int64)
    return np.where(codes >= 0, ranks[codes], -1).astype(np.int64)


def _table(rows: NDArray[np.int64]) -> pa.Table:
    concepts = (rows[:, 0] >> 32).astype(np.int32)
    users = (rows[:, 0] >> 1 & 0x7FFFFFFF).astype(np.int32)
    versions = np.ascontiguousarray(rows[:, 1])
    return pa.Table.from_arrays(
        [pa.array(concepts), pa.array(users), pa.array(versions)], schema=STATES_SCHEMA
    )

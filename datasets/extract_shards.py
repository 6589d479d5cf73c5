"""The second pass: buckets to sorted Parquet shards of whole concepts, with their index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.contracts import CONCEPTS_SCHEMA, SHARD_SCHEMA, USERS_SCHEMA
from datasets.id_codes import ranks_of
from datasets.parquet import whole_file, write_table
from datasets.row_buckets import N_BUCKETS, sorted_rows
from datasets.row_kernels import ConceptFacts, summarise, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.extract_intake import Intake

#: Neighbouring buckets share a shard until it has this many rows.
SHARD_ROWS = 200_000
_ROW_GROUP_ROWS = 1 << 17
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One shard as the manifest names it."""

    name: str
    rows: int
    concepts: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Canonical codes: ids in the order of their UTF-8 bytes."""

    user_order: NDArray[np.int64]
    concept_order: NDArray[np.int64]
    users: NDArray[np.int32]
    concepts: NDArray[np.int32]


def write_shards(
    intake: Intake, ranks: Ranks, folder: Path
) -> tuple[str, tuple[ShardFile, ...]]:
    """Write users, concepts and shards of one extraction; returns its data digest."""
    n_concepts = ranks.concept_order.size
    facts = ConceptFacts(
        n_users=np.zeros(n_concepts, np.int64),
        n_correct=np.zeros(n_concepts, np.int64),
        first_at=np.full(n_concepts, np.iinfo(np.int64).max),
        last_at=np.zeros(n_concepts, np.int64),
    )
    shard_of = np.zeros(n_concepts, np.int32)
    first_rows = np.zeros(n_concepts, np.int64)
    counts = intake.counts[ranks.concept_order]
    shards: list[ShardFile] = []
    for number, buckets in enumerate(_shard_buckets(intake.buckets.counts)):
        chosen = np.isin(_bucket_of(intake.concepts.hashes()[ranks.concept_order]), buckets)
        shard_of[chosen] = number
        first_rows[chosen] = np.cumsum(counts[chosen]) - counts[chosen]
        path = folder / f"shard-{number:04d}.parquet"
        rows = _write_shard(path, intake, buckets, ranks, facts)
        shards.append(
            ShardFile(
                name=path.name,
                rows=rows,
                concepts=int(chosen.sum()),
                bytes=path.stat().st_size,
            )
        )
    write_table(folder / "users.parquet", _users(intake, ranks))
    concepts = _concepts(intake, ranks, facts, shard_of, first_rows)
    write_table(folder / "concepts.parquet", concepts)
    return data_digest(concepts), tuple(shards)


def data_digest(concepts: pa.Table) -> str:
    """The digest of a whole log from the digests of its concepts, in canonical order."""
    whole = hashlib.sha256(f"attempt log, format {FORMAT}".encode())
    columns = (concepts["concept_id"], concepts["digest"], concepts["n_attempts"])
    for concept_id, digest, n in zip(*(c.to_pylist() for c in columns), strict=True):
        identifier = concept_id.encode()
        whole.update(len(identifier).to_bytes(8, "little") + identifier)
        whole.update(bytes.fromhex(digest) + n.to_bytes(8, "little"))
    return whole.hexdigest()[:32]


def canonical_ranks(intake: Intake) -> Ranks:
    """The codes that the files use, for every id with a good row."""
    user_order = intake.users.in_byte_order(intake.active_users)
    concept_order = intake.concepts.in_byte_order(intake.counts > 0)
    return Ranks(
        user_order=user_order,
        concept_order=concept_order,
        users=ranks_of(user_order, len(intake.users)),
        concepts=ranks_of(concept_order, len(intake.concepts)),
    )


def _bucket_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The bucket of each concept, as `row_kernels.sift` chooses it."""
    bits = N_BUCKETS.bit_length() - 1
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def _shard_buckets(counts: NDArray[np.int64]) -> list[list[int]]:
    """Neighbouring buckets put together until each shard has rows enough."""
    groups: list[list[int]] = []
    waiting: list[int] = []
    for bucket in np.flatnonzero(counts):
        waiting.append(int(bucket))
        if counts[waiting].sum() >= SHARD_ROWS:
            groups.append(waiting)
            waiting = []
    return [*groups, waiting] if waiting else groups


def _write_shard(
    path: Path, intake: Intake, buckets: list[int], ranks: Ranks, facts: ConceptFacts
) -> int:
    n_rows = 0
    pieces = sorted_rows(
        intake.buckets,
        buckets,
        ranks.concepts,
        ranks.users,
        n_concepts=ranks.concept_order.size,
        n_users=ranks.user_order.size,
    )
    with whole_file(path) as unfinished, shard_writer(unfinished) as writer:
        for rows in pieces:
            summarise(rows, facts)
            writer.write_table(shard_table(rows), row_group_size=_ROW_GROUP_ROWS)
            n_rows += rows.shape[0]
    for bucket in buckets:
        intake.buckets.drop(bucket)
    return n_rows


def shard_writer(path: Path) -> pq.ParquetWriter:
    """A writer whose encodings suit sorted codes: runs for concepts, small steps for users."""
    return pq.ParquetWriter(
        path,
        SHARD_SCHEMA,
        compression="lz4",
        use_dictionary=["concept", "user", "correct"],
        write_statistics=False,
    )


def shard_table(rows: NDArray[np.int64]) -> pa.Table:
    """Ranked rows as a table of `SHARD_SCHEMA`."""
    n = rows.shape[0]
    concepts, users = np.empty(n, np.int32), np.empty(n, np.int32)
    ids, times, correct = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int8)
    unpack(rows, concepts, users, ids, times, correct)
    arrays = [
        pa.array(concepts),
        pa.array(users),
        pa.array(ids),
        pa.array(times).cast(pa.timestamp("us", tz="UTC")),
        pa.array(correct),
    ]
    return pa.Table.from_arrays(arrays, schema=SHARD_SCHEMA)


def _users(intake: Intake, ranks: Ranks) -> pa.Table:
    order = ranks.user_order
    return pa.Table.from_arrays(
        [
            pa.array(np.arange(order.size, dtype=np.int32)),
            intake.users.ids(order),
            pa.array(intake.users.hashes()[order]),
        ],
        schema=USERS_SCHEMA,
    )


def _concepts(
    intake: Intake,
    ranks: Ranks,
    facts: ConceptFacts,
    shard_of: NDArray[np.int32],
    first_rows: NDArray[np.int64],
) -> pa.Table:
    order = ranks.concept_order
    counts = intake.counts[order]
    moment = pa.timestamp("us", tz="UTC")
    arrays = [
        pa.array(np.arange(order.size, dtype=np.int32)),
        intake.concepts.ids(order),
        pa.array([f"{digest:016x}" for digest in intake.digests[order].tolist()], pa.string()),
        pa.array(counts),
        pa.array(facts.n_users),
        pa.array(facts.n_correct),
        pa.array(facts.first_at).cast(moment),
        pa.array(facts.last_at).cast(moment),
        pa.array(shard_of),
        pa.array(first_rows),
        pa.array(counts),
    ]
    return pa.Table.from_arrays(arrays, schema=CONCEPTS_SCHEMA)

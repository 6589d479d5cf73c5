"""The second pass: write buckets as sorted Parquet shards, with an index of concepts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.contracts import CONCEPTS_SCHEMA, DETAILS_DIGEST, SHARD_SCHEMA, USERS_SCHEMA
from datasets.extracts.buckets import N_BUCKETS, sorted_rows
from datasets.extracts.files import ShardFile
from datasets.id_codes import ranks_of
from datasets.parquet import write_table
from datasets.row_kernels import ConceptFacts, summarise, unpack
from datasets.whole_files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.extracts.intake import Intake

#: A shard takes neighbouring buckets until it has this many rows.
SHARD_ROWS = 200_000
_ROW_GROUP_ROWS = 1 << 17
_MOMENT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Canonical codes: ranks of ids in the order of their UTF-8 bytes."""

    user_order: NDArray[np.int64]  # rank -> code of the first pass
    concept_order: NDArray[np.int64]
    users: NDArray[np.int32]  # code of the first pass -> rank, -1 where unused
    concepts: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptIndex:
    """The numeric columns of `concepts.parquet`, each (n_concepts,), by rank."""

    digests: NDArray[np.uint64]
    n_attempts: NDArray[np.int64]
    facts: ConceptFacts
    shard: NDArray[np.int32]
    first_row: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    delta_first_row: NDArray[np.int64]
    delta_rows: NDArray[np.int64]
    #: Of questions and stamps; None if the extraction has none.
    details: NDArray[np.uint64] | None


def canonical_ranks(intake: Intake) -> Ranks:
    """Return the codes that the files use, for every id with an accepted row."""
    user_order = intake.users.in_byte_order(intake.active_users)
    concept_order = intake.concepts.in_byte_order(intake.active_concepts)
    return Ranks(
        user_order=user_order,
        concept_order=concept_order,
        users=ranks_of(user_order, len(intake.users)),
        concepts=ranks_of(concept_order, len(intake.concepts)),
    )


def no_facts(n_concepts: int) -> ConceptFacts:
    """Return the initial facts, before any row was read."""
    return ConceptFacts(
        n_users=np.zeros(n_concepts, np.int64),
        n_correct=np.zeros(n_concepts, np.int64),
        first_at=np.full(n_concepts, np.iinfo(np.int64).max),
        last_at=np.zeros(n_concepts, np.int64),
    )


def write_shards(
    intake: Intake, ranks: Ranks, folder: Path
) -> tuple[str, tuple[ShardFile, ...]]:
    """Write users, concepts and shards of one extraction; return its data digest."""
    n_concepts = ranks.concept_order.size
    facts = no_facts(n_concepts)
    shard_of = np.zeros(n_concepts, np.int32)
    first_rows = np.zeros(n_concepts, np.int64)
    counts = intake.counts[ranks.concept_order]
    bucket_of = buckets_of(intake.concepts.hashes()[ranks.concept_order])
    shards: list[ShardFile] = []
    first = 0
    for number, below in enumerate(_shard_ends(intake.buckets.counts)):
        mine = (bucket_of >= first) & (bucket_of < below)
        shard_of[mine] = number
        first_rows[mine] = np.cumsum(counts[mine]) - counts[mine]
        path = folder / f"shard-{number:04d}.parquet"
        rows = write_sorted(path, intake, range(first, below), ranks, facts)
        size = path.stat().st_size
        shards.append(ShardFile(name=path.name, rows=rows, bytes=size, below_bucket=below))
        first = below
    index = ConceptIndex(
        digests=intake.digests[ranks.concept_order],
        n_attempts=counts,
        facts=facts,
        shard=shard_of,
        first_row=first_rows,
        n_rows=counts,
        delta_first_row=np.zeros_like(counts),
        delta_rows=np.zeros_like(counts),
        details=details_digests(intake, ranks),
    )
    return write_index(folder, intake, ranks, index), tuple(shards)


def write_index(folder: Path, intake: Intake, ranks: Ranks, index: ConceptIndex) -> str:
    """Write `users.parquet` and `concepts.parquet`; return the data digest."""
    if intake.details is not None:
        intake.details.write_questions(folder)
    write_table(folder / "users.parquet", _users(intake, ranks))
    concepts = _concepts(intake, ranks, index)
    write_table(folder / "concepts.parquet", concepts)
    return data_digest(concepts)


def data_digest(concepts: pa.Table) -> str:
    """Compute the digest of a log from the digests of its concepts, in canonical order."""
    whole = hashlib.sha256(b"attempt log")
    columns = (concepts["concept_id"], concepts["digest"], concepts["n_attempts"])
    for concept_id, digest, n in zip(*(c.to_pylist() for c in columns), strict=True):
        identifier = concept_id.encode()
        whole.update(len(identifier).to_bytes(8, "little") + identifier)
        whole.update(bytes.fromhex(digest) + n.to_bytes(8, "little"))
    if DETAILS_DIGEST.name in concepts.column_names:
        whole.update(b"details")
        for digest in concepts[DETAILS_DIGEST.name].to_pylist():
            whole.update(bytes.fromhex(digest))
    return whole.hexdigest()[:32]


def details_digests(intake: Intake, ranks: Ranks) -> NDArray[np.uint64] | None:
    """Return the digests of questions and stamps of new rows, by rank; None without them."""
    if intake.details is None:
        return None
    found = intake.details.digests
    return np.pad(found, (0, len(intake.concepts) - found.size))[ranks.concept_order]


def buckets_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the bucket of each concept, as `row_kernels.sift` chooses it."""
    bits = N_BUCKETS.bit_length() - 1
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def _shard_ends(counts: NDArray[np.int64]) -> list[int]:
    """Return the end bucket of each shard: once it has enough rows; the last takes the rest."""
    ends: list[int] = []
    waiting = 0
    for bucket, count in enumerate(counts.tolist()):
        waiting += count
        if waiting >= SHARD_ROWS:
            ends.append(bucket + 1)
            waiting = 0
    if not ends or waiting:
        return [*ends, N_BUCKETS]
    return [*ends[:-1], N_BUCKETS]


def write_sorted(
    path: Path, intake: Intake, buckets: range, ranks: Ranks, facts: ConceptFacts
) -> int:
    """Write the rows of some buckets as one sorted file; return the number of rows."""
    n_rows = 0
    pieces = sorted_rows(
        intake.buckets,
        list(buckets),
        ranks.concepts,
        ranks.users,
        n_concepts=ranks.concept_order.size,
        n_users=ranks.user_order.size,
    )
    with whole_file(path) as unfinished, _shard_writer(unfinished) as writer:
        for rows in pieces:
            summarise(rows, facts)
            writer.write_table(shard_table(rows), row_group_size=_ROW_GROUP_ROWS)
            n_rows += rows.shape[0]
    for bucket in buckets:
        intake.buckets.drop(bucket)
    if intake.details is not None:
        intake.details.write(path.parent, path.name, buckets, ranks.concepts)
    return n_rows


def _shard_writer(path: Path) -> pq.ParquetWriter:
    """Open a writer with encodings that suit sorted codes: run lengths and deltas."""
    return pq.ParquetWriter(
        path,
        SHARD_SCHEMA,
        compression="lz4",
        use_dictionary=["concept", "user", "correct"],
        write_statistics=False,
    )


def shard_table(rows: NDArray[np.int64]) -> pa.Table:
    """Convert ranked rows to a table of `SHARD_SCHEMA`."""
    n = rows.shape[0]
    concepts, users = np.empty(n, np.int32), np.empty(n, np.int32)
    ids, times, correct = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int8)
    unpack(rows, concepts, users, ids, times, correct)
    arrays = [
        pa.array(concepts),
        pa.array(users),
        pa.array(ids),
        pa.array(times).cast(_MOMENT),
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


def _concepts(intake: Intake, ranks: Ranks, index: ConceptIndex) -> pa.Table:
    facts = index.facts
    arrays = [
        pa.array(np.arange(ranks.concept_order.size, dtype=np.int32)),
        intake.concepts.ids(ranks.concept_order),
        pa.array([f"{digest:016x}" for digest in index.digests.tolist()], pa.string()),
        pa.array(index.n_attempts),
        pa.array(facts.n_users),
        pa.array(facts.n_correct),
        pa.array(facts.first_at).cast(_MOMENT),
        pa.array(facts.last_at).cast(_MOMENT),
        pa.array(index.shard),
        pa.array(index.first_row),
        pa.array(index.n_rows),
        pa.array(index.delta_first_row),
        pa.array(index.delta_rows),
    ]
    table = pa.Table.from_arrays(arrays, schema=CONCEPTS_SCHEMA)
    if index.details is None:
        return table
    digests = [f"{digest:016x}" for digest in index.details.tolist()]
    return table.append_column(DETAILS_DIGEST, pa.array(digests, pa.string()))

"""Write only the rows that were added since a base; the shards of the base stay unchanged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.contracts import DETAILS_DIGEST
from datasets.errors import ExtractError
from datasets.extracts.broken import FILE_NAME as BROKEN_FILE
from datasets.extracts.files import Extract, is_whole, open_extract
from datasets.extracts.reading.positions import from_json
from datasets.extracts.shards import (
    ConceptIndex,
    buckets_of,
    details_digests,
    no_facts,
    write_index,
    write_sorted,
)
from datasets.parquet import read_table, write_table
from datasets.row_kernels import count_new_users, read_only
from datasets.whole_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from datasets.extracts.files import ShardFile
    from datasets.extracts.intake import Intake
    from datasets.extracts.reading.log_snapshot import LogSnapshot
    from datasets.extracts.reading.positions import LogPosition
    from datasets.extracts.shards import Ranks


def usable_base(
    extracts: Path, snapshot: LogSnapshot, *, details: bool = False
) -> tuple[Extract, LogPosition] | tuple[None, None]:
    """Find the newest complete extraction to which this log only added rows.

    With `details` it must hold questions and stamps as well; else it must not, so that a base
    and its delta are alike.
    """
    found = []
    for manifest in extracts.glob("*/manifest.json"):
        try:
            extract = open_extract(manifest.parent, manifest.parent)
        except ExtractError:
            continue
        position = from_json(read_json(manifest).get("position"))
        if extract.base is None and extract.details is details and position is not None:
            found.append((extract, position))
    for extract, position in sorted(found, key=lambda one: one[0].extracted_at, reverse=True):
        whole = is_whole(extract.root) and (extract.root / BROKEN_FILE).is_file()
        if whole and snapshot.continues(position):
            return extract, position
    return None, None


def write_delta(
    base: Extract, intake: Intake, ranks: Ranks, folder: Path
) -> tuple[str, tuple[ShardFile, ...]]:
    """Write the new rows, and the index of base and new rows; return the data digest."""
    n_concepts = ranks.concept_order.size
    facts = no_facts(n_concepts)
    counts = intake.counts[ranks.concept_order]
    bucket_of = buckets_of(intake.concepts.hashes()[ranks.concept_order])
    user_codes = ranks.users[: intake.n_known_users]
    shard_of = np.zeros(n_concepts, np.int32)
    first_rows = np.zeros(n_concepts, np.int64)
    shards: list[ShardFile] = []
    first = 0
    for number, shard in enumerate(base.shards):
        mine = (bucket_of >= first) & (bucket_of < shard.below_bucket)
        shard_of[mine] = number
        first_rows[mine] = np.cumsum(counts[mine]) - counts[mine]
        if counts[mine].any():
            path = folder / f"delta-{number:04d}.parquet"
            rows = write_sorted(path, intake, range(first, shard.below_bucket), ranks, facts)
            _count_users(path, base, shard, ranks, user_codes, facts.n_users)
            size = path.stat().st_size
            shard = replace(shard, delta=path.name, delta_rows=rows, delta_bytes=size)
        shards.append(shard)
        first = shard.below_bucket
    codes = pa.table({"user": pa.array(user_codes)})
    write_table(folder / "base_users.parquet", codes)
    index = ConceptIndex(
        digests=intake.digests[ranks.concept_order],
        n_attempts=counts.copy(),
        facts=facts,
        shard=shard_of,
        first_row=np.zeros_like(counts),
        n_rows=np.zeros_like(counts),
        delta_first_row=first_rows,
        delta_rows=counts,
        details=details_digests(intake, ranks),
    )
    _add_base(index, base, ranks.concepts[: intake.n_known_concepts])
    return write_index(folder, intake, ranks, index), tuple(shards)


def _add_base(index: ConceptIndex, base: Extract, places: NDArray[np.int32]) -> None:
    """Add the base's counts of its concepts; `places` are the current ranks of the concepts."""
    table, facts = base.concepts, index.facts
    digests = [int(text, 16) for text in table["digest"].to_pylist()]
    index.digests[places] += np.array(digests, np.uint64)
    if index.details is not None:
        digests = [int(text, 16) for text in table[DETAILS_DIGEST.name].to_pylist()]
        index.details[places] += np.array(digests, np.uint64)
    for column, mine in (
        ("n_attempts", index.n_attempts),
        ("n_users", facts.n_users),
        ("n_correct", facts.n_correct),
        ("first_row", index.first_row),
        ("n_rows", index.n_rows),
    ):
        mine[places] += table[column].to_numpy()
    first_at, last_at = (
        table[column].cast(pa.int64()).to_numpy()
        for column in ("first_attempt_at", "last_attempt_at")
    )
    facts.first_at[places] = np.minimum(facts.first_at[places], first_at)
    facts.last_at[places] = np.maximum(facts.last_at[places], last_at)


def _count_users(
    path: Path,
    base: Extract,
    shard: ShardFile,
    ranks: Ranks,
    user_codes: NDArray[np.int32],
    n_users: NDArray[np.int64],
) -> None:
    """Reduce `n_users` of the concepts in one delta to users that the base does not have."""
    delta = pq.read_table(path, columns=["concept", "user"])
    concepts, users = delta["concept"].to_numpy(), delta["user"].to_numpy()
    before = user_codes[read_table(base.root / shard.name, columns=["user"])["user"].to_numpy()]
    first_of_base, size_of_base = (
        base.concepts[column].to_numpy() for column in ("first_row", "n_rows")
    )
    code_of = ranks.concept_order
    edges = np.flatnonzero(np.diff(concepts, prepend=-1))
    for start, stop in zip(edges, [*edges[1:], concepts.size], strict=True):
        rank = concepts[start]
        code = code_of[rank]
        if code < first_of_base.size:
            first = first_of_base[code]
            known = before[first : first + size_of_base[code]]
            n_users[rank] = count_new_users(read_only(known), read_only(users[start:stop]))

"""Which concepts share a transaction: neighbours, up to a bound in rows and in concepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Concepts of one transaction: each holds a lock, and a promotion waits for all of them.
MOST_CONCEPTS = 500
#: A concept of this many rows has transactions of its own: what it costs besides its rows is
#: little, and its rows lie beside each other.
LARGE = 1_000


def batches(
    concepts: Iterable[str],
    sizes: Mapping[str, int],
    *,
    most_rows: int,
    most_concepts: int = MOST_CONCEPTS,
) -> Iterator[list[str]]:
    """Split concepts, in their order, into batches of at most `most_rows` rows.

    `sizes`: expected rows by concept; a concept without an entry counts as one row. A concept
    of `LARGE` rows or more is a batch of its own, whatever its size.
    """
    batch: list[str] = []
    n_rows = 0
    for concept_id in concepts:
        size = max(1, sizes.get(concept_id, 1))
        alone = size >= LARGE
        if batch and (alone or n_rows + size > most_rows or len(batch) == most_concepts):
            yield batch
            batch, n_rows = [], 0
        if alone:
            yield [concept_id]
            continue
        batch.append(concept_id)
        n_rows += size
    if batch:
        yield batch

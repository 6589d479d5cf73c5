"""Group neighbouring concepts into transactions, with limits of rows and of concepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Most concepts per transaction: it holds a lock for each, and a promotion waits for all.
MOST_CONCEPTS = 500
#: A concept with this many rows has transactions of its own: the fixed cost is small in
#: comparison, and its rows are adjacent.
LARGE = 1_000


def batches(
    concepts: Iterable[str],
    sizes: Mapping[str, int],
    *,
    most_rows: int,
    most_concepts: int = MOST_CONCEPTS,
) -> Iterator[list[str]]:
    """Split concepts, in their order, into batches of at most `most_rows` rows.

    `sizes` holds the expected rows by concept; a concept without an entry counts as one row. A
    concept with `LARGE` rows or more is a batch of its own, even above `most_rows`.
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

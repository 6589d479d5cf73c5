"""Compare two algorithm versions over an extraction, pooled and concept by concept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from bkt_core.evaluation.metrics import score
from bkt_core.evaluation.paired_scores import PairedPredictions, PairedScores, paired_scores
from bkt_core.family.params import names_among
from bkt_core.judgement.versions import Source, compare_at_concept
from bkt_core.params import PARAM_NAMES
from datasets.sequences.readers import EVERYTHING, PLAIN, shard_sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from bkt_core.judgement.versions import VersionParams, VersionsAtConcept
    from bkt_core.variant import Variant
    from datasets.extracts.extraction import Extract
    from datasets.sequences.readers import ConceptAttempts, Window

    #: Returns the parameters of A and of B for a concept id.
    Sides = Callable[[str], tuple[VersionParams, VersionParams]]

#: Quantile of the changes of mastery that is reported as a large change.
LARGE = 0.95
#: Columns of the table of concepts, one row per compared concept; parameters follow them.
CONCEPTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "concept_id": pl.String,
    "source_a": pl.String,
    "source_b": pl.String,
    "n_attempts": pl.Int64,
    "n_users": pl.Int64,
    "log_loss_a": pl.Float64,
    "log_loss_b": pl.Float64,
    "auc_a": pl.Float64,
    "auc_b": pl.Float64,
    "gain": pl.Float64,  # nats per attempt by which B is better
    "standard_error": pl.Float64,
    "p_not_better": pl.Float64,
    "p_not_worse": pl.Float64,
    "states": pl.Int64,
    "mastered_a": pl.Int64,
    "mastered_b": pl.Int64,
    "up": pl.Int64,
    "down": pl.Int64,
    "mean_move": pl.Float64,  # mean |mastery by B - mastery by A|
}


def _schema(rows: Sequence[Mapping[str, Any]]) -> dict[str, pl.DataType | type[pl.DataType]]:
    """Return `CONCEPTS` with two columns per parameter: the usual four, and those in `rows`."""
    found = {column.removesuffix("_a").removesuffix("_b") for row in rows for column in row}
    names = names_among(PARAM_NAMES, found)
    return CONCEPTS | {f"{name}_{side}": pl.Float64 for name in names for side in "ab"}


#: Columns of the table with one row per user and concept that would cross the threshold.
CROSSINGS: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "concept_id": pl.String,
    "mastery_a": pl.Float64,
    "mastery_b": pl.Float64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MasteryMoves:
    """States and users above the threshold, which each version sets for itself."""

    states: int
    mastered_a: int
    mastered_b: int
    up: int
    down: int
    users: int
    #: Number of users with at least one state that would cross the threshold.
    users_crossing: int
    #: Mean of mastery by B minus mastery by A, mean of its size, and the size of a large
    #: change.
    mean_change: float
    mean_move: float
    large_move: float

    @property
    def share(self) -> float:
        """The share of users with at least one state that would cross the threshold."""
        return self.users_crossing / self.users if self.users else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self) | {"share": self.share}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VersionComparison:
    """The comparison of version B with version A on the same held-out attempts."""

    a: str
    b: str
    pooled: PairedScores
    moves: MasteryMoves
    concepts: pl.DataFrame  # columns `CONCEPTS` and parameters, largest total gain of B first
    crossings: pl.DataFrame  # columns `CROSSINGS`, with user ids: it stays on this machine
    #: Number of concepts with the same defaults in both versions, which are not compared.
    at_same_defaults: int

    @property
    def letters(self) -> tuple[str, ...]:
        """The names of the parameters in the table of concepts."""
        return names_among([name.removesuffix("_a") for name in self.concepts.columns])

    def count(self, side: str, source: Source) -> int:
        """Return the number of concepts with parameters from `source` on side "a" or "b"."""
        return self.concepts.filter(pl.col(f"source_{side}") == source.value).height

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values, without user ids."""
        return {
            "a": self.a,
            "b": self.b,
            **self.pooled.as_json(),
            "mastery": self.moves.as_json(),
            "sources": {
                side: {source.value: self.count(side, source) for source in Source}
                for side in "ab"
            },
            "at_same_defaults": self.at_same_defaults,
            "concepts": self.concepts.to_dicts(),
        }


def compare_versions(
    extract: Extract,
    names: tuple[str, str],
    sides: Sides,
    *,
    window: Window = EVERYTHING,
    left_out: NDArray[np.bool_] | None = None,
    only: frozenset[str] = frozenset(),
    variant: Variant = PLAIN,
) -> VersionComparison:
    """Predict every held-out attempt with both versions, and replay all users with both.

    `variant` has the parts that either version has: what is read of each attempt.
    `left_out` (n_users,) marks users, by code, who are ignored; `only` names concepts, empty
    means all. A version without a fit of a concept uses its defaults.
    """
    gathered = _Gathered(extract.users["user_id"].to_pylist())
    for shard in range(len(extract.shards)):
        for attempts in shard_sequences(
            extract, shard, window, left_out=left_out, variant=variant
        ):
            if not attempts.sequences.n_attempts or (only and attempts.concept_id not in only):
                continue
            a, b = sides(attempts.concept_id)
            if a == b and a.source is Source.DEFAULTS:
                gathered.at_same_defaults += 1
                continue
            hashes = attempts.user_hashes
            gathered.add(attempts, compare_at_concept(a, b, attempts.sequences, hashes))
    return VersionComparison(
        a=names[0],
        b=names[1],
        pooled=paired_scores(gathered.pairs()),
        moves=gathered.moves(),
        concepts=pl.DataFrame(gathered.rows, schema=_schema(gathered.rows)).sort(
            pl.col("gain") * pl.col("n_attempts"),
            "concept_id",
            descending=[True, False],
            nulls_last=True,
        ),
        crossings=pl.DataFrame(list(gathered.crossings()), schema=CROSSINGS, orient="row"),
        at_same_defaults=gathered.at_same_defaults,
    )


class _Gathered:
    """Adds up the results of concepts."""

    def __init__(self, user_ids: list[str]) -> None:
        self.user_ids = user_ids
        self.rows: list[dict[str, Any]] = []
        self.at_same_defaults = 0
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._states: list[tuple[str, NDArray[np.int32], VersionsAtConcept]] = []

    def add(self, attempts: ConceptAttempts, found: VersionsAtConcept) -> None:
        """Add one concept."""
        both, sequences = found.predicted_by_both, attempts.sequences
        of_attempt = np.repeat(attempts.users.astype(np.int64), sequences.lengths)[both]
        code = np.full(of_attempt.size, attempts.concept, dtype=np.int64)
        self._parts.append(
            (of_attempt, code, sequences.correct[both], found.p_a[both], found.p_b[both])
        )
        self._states.append((attempts.concept_id, attempts.users, found))
        self.rows.append(_row(attempts.concept_id, sequences.correct[both], found))

    def pairs(self) -> PairedPredictions:
        """Return every attempt that both versions predict."""
        kinds = (np.int64, np.int64, np.int8, np.float64, np.float64)
        columns = zip(*self._parts, strict=True) if self._parts else ((),) * len(kinds)
        return PairedPredictions(
            *(
                np.concatenate([np.empty(0, kind), *own]).astype(kind, copy=False)
                for kind, own in zip(kinds, columns, strict=True)
            )
        )

    def moves(self) -> MasteryMoves:
        """Return mastery of all users by B compared with A."""
        changes = [found.mastery_b - found.mastery_a for _, _, found in self._states]
        change = np.concatenate([np.empty(0), *changes])
        users, crossing = (np.zeros(len(self.user_ids), np.bool_) for _ in range(2))
        for _, codes, found in self._states:
            users[codes] = True
            crossing[codes[found.mastered_a != found.mastered_b]] = True
        sums = {
            name: sum(row[name] for row in self.rows)
            for name in ("mastered_a", "mastered_b", "up", "down")
        }
        return MasteryMoves(
            states=int(change.size),
            users=int(users.sum()),
            users_crossing=int(crossing.sum()),
            mean_change=float(change.mean()) if change.size else 0.0,
            mean_move=float(np.abs(change).mean()) if change.size else 0.0,
            large_move=float(np.quantile(np.abs(change), LARGE)) if change.size else 0.0,
            **sums,
        )

    def crossings(self) -> Iterator[tuple[str, str, float, float]]:
        """Yield each user and concept that would cross the threshold."""
        for concept, codes, found in self._states:
            for place in np.flatnonzero(found.mastered_a != found.mastered_b).tolist():
                yield (
                    self.user_ids[codes[place]],
                    concept,
                    float(found.mastery_a[place]),
                    float(found.mastery_b[place]),
                )


def _row(
    concept_id: str, correct: NDArray[np.int8], found: VersionsAtConcept
) -> dict[str, Any]:
    both = found.predicted_by_both
    row: dict[str, Any] = {
        "concept_id": concept_id,
        "source_a": found.a.source.value,
        "source_b": found.b.source.value,
        "n_attempts": int(correct.size),
        "states": int(found.mastery_a.size),
        "mastered_a": int(found.mastered_a.sum()),
        "mastered_b": int(found.mastered_b.sum()),
        "up": int((~found.mastered_a & found.mastered_b).sum()),
        "down": int((found.mastered_a & ~found.mastered_b).sum()),
        "mean_move": float(np.abs(found.mastery_b - found.mastery_a).mean()),
    }
    if found.comparison is not None:
        row |= {
            name: getattr(found.comparison, name)
            for name in ("n_users", "gain", "standard_error", "p_not_better", "p_not_worse")
        }
    for side, version, p in (("a", found.a, found.p_a), ("b", found.b, found.p_b)):
        scores = score(correct, p[both])
        row[f"auc_{side}"] = scores.auc
        row[f"log_loss_{side}"] = scores.log_loss if scores.n else None
        letters = version.params.as_dict().items()
        row |= {f"{name}_{side}": value for name, value in letters}
    return row

"""Compute mastery from the attempts of an extraction, ready to be written to states.

The values are computed from the files for each concept. Equal files give equal values, so that
nothing has to survive a crash. Only one shard is in memory at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bkt_core.family.params import FamilyParams, has_multipliers
from bkt_core.replay import replay
from bkt_core.variant import Variant
from datasets.extracts.versions import states_of_shard
from datasets.sequences.readers import PLAIN, shard_concepts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from bkt_core.family.params import Params
    from datasets.extracts.files import Extract
    from datasets.sequences.readers import ConceptAttempts


@dataclass(frozen=True, slots=True, eq=False)
class _Shard:
    """The shard that is currently in memory."""

    number: int
    attempts_of: Callable[[int], ConceptAttempts]
    concepts: NDArray[np.int32]  # (n_states,), increasing
    users: NDArray[np.int32]  # (n_states,), increasing within a concept
    versions: NDArray[np.int64]  # (n_states,)


class StagedStates:
    """Staged states by concept; query in the order of `in_order`, or shards are read again."""

    def __init__(self, extract: Extract, params: Mapping[str, Params]) -> None:
        self._extract, self._params = extract, params
        variant = _variant_of(params.values())
        #: What the replays read; None if the extraction does not have all of it.
        self._variant = variant if extract.details or not variant.reads_details else None
        ids = extract.concepts["concept_id"].to_pylist()
        self._codes = {concept_id: code for code, concept_id in enumerate(ids)}
        self._shard_of = extract.concepts["shard"].to_numpy()
        self._user_ids = pl.Series(extract.users["user_id"], dtype=pl.String)
        self._set_aside = pl.read_parquet(extract.set_aside)
        self._shard: _Shard | None = None

    def in_order(self, concepts: Iterable[str]) -> list[str]:
        """Sort concepts as they are in the shards; concepts not in the extraction come last."""
        n_shards = len(self._extract.shards)

        def place(concept_id: str) -> tuple[int, bytes]:
            code = self._codes.get(concept_id)
            shard = n_shards if code is None else int(self._shard_of[code])
            return shard, concept_id.encode()

        return sorted(concepts, key=place)

    def of_concept(self, concept_id: str) -> pl.DataFrame | None:
        """Return a frame of `sweep.STAGED`, by user; None if a replay must read the log."""
        params, code = self._params.get(concept_id), self._codes.get(concept_id)
        if params is None or code is None:
            return None
        if has_multipliers(params) and self._variant is None:
            return None  # the shards do not hold the facts of attempts
        shard = self._shard_with(code)
        attempts = shard.attempts_of(code)
        first, stop = np.searchsorted(shard.concepts, [code, code + 1])
        users = shard.users[first:stop]
        # A user without a state yet, or without attempts, is replayed later.
        _, staged, based = np.intersect1d(
            attempts.users, users, assume_unique=True, return_indices=True
        )
        frame = pl.DataFrame(
            {
                "user_id": self._user_ids.gather(attempts.users[staged]),
                "base_version": shard.versions[first:stop][based],
                "p_mastery": replay(attempts.sequences, params)[staged],
                "n_attempts": attempts.sequences.lengths[staged],
                "last_attempt_at": attempts.last_times[staged].astype("datetime64[us]"),
                "last_attempt_id": attempts.last_ids[staged],
            }
        ).with_columns(pl.col("last_attempt_at").dt.replace_time_zone("UTC"))
        return self._without_set_aside(concept_id, frame)

    def _shard_with(self, code: int) -> _Shard:
        number = int(self._shard_of[code])
        if self._shard is None or self._shard.number != number:
            self._shard = None  # release one shard before the next is read
            states = states_of_shard(self._extract, number)
            columns = (states[name].to_numpy() for name in ("concept", "user", "version"))
            attempts_of = shard_concepts(self._extract, number, variant=self._variant or PLAIN)
            self._shard = _Shard(number, attempts_of, *columns)
        return self._shard

    def _without_set_aside(self, concept_id: str, staged: pl.DataFrame) -> pl.DataFrame:
        """Remove keys with quarantined rows; their states are replayed from the log."""
        own = self._set_aside.filter(pl.col("concept_id") == concept_id)
        if own.is_empty():
            return staged
        return staged.join(
            own.select("user_id"), on="user_id", how="anti", maintain_order="left"
        )


def _variant_of(params: Iterable[Params]) -> Variant:
    """Return the parts that any of the parameters has, as far as attempts are read for them."""
    family = [one for one in params if isinstance(one, FamilyParams)]
    return Variant(
        questions=any(one.question_odds is not None for one in family),
        history=any("w_recent" in one.weights for one in family),
        gap=any("w_gap" in one.weights for one in family),
    )

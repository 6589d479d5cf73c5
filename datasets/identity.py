"""The identity of an attempt that comes from a file, and hashes of ids for people to see."""

from __future__ import annotations

import hashlib

import polars as pl


def idempotency_key(source: str, attempt_id: str, concept_id: str) -> str:
    """A hash of the length-prefixed parts, so that no two identities run into each other."""
    parts = (part.encode() for part in (source, attempt_id, concept_id))
    framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return hashlib.sha256(framed).hexdigest()


def with_idempotency_keys(parts: pl.DataFrame, source: str) -> pl.DataFrame:
    """The frame with a column `idempotency_key` from source, attempt_id and concept_id."""
    keys = [
        idempotency_key(source, attempt, concept)
        for attempt, concept in zip(parts["attempt_id"], parts["concept_id"], strict=True)
    ]
    return parts.with_columns(pl.Series("idempotency_key", keys, dtype=pl.String))


def masked(identifier: str | None) -> str:
    """A short hash that stands for an id where people may look, such as a report."""
    if identifier is None:
        return "null"
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:12]

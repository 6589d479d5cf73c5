"""The identity of an attempt that comes from a file, and hashes of ids for people to see."""

from __future__ import annotations

import hashlib

import polars as pl


def idempotency_key(source: str, attempt_id: str, concept_id: str) -> str:
    """A hash of the length-prefixed parts, so that no two identities run into each other."""
    parts = (source, attempt_id, concept_id)
    return hashlib.sha256(b"".join(_framed(part) for part in parts)).hexdigest()


def with_idempotency_keys(parts: pl.DataFrame, source: str) -> pl.DataFrame:
    """The frame with a column `idempotency_key` from source, attempt_id and concept_id."""
    begun, sha256 = _framed(source), hashlib.sha256
    concepts = {name: _framed(name) for name in parts["concept_id"].unique()}
    identities = zip(parts["attempt_id"].to_list(), parts["concept_id"].to_list(), strict=True)
    keys = [
        sha256(begun + _framed(attempt_id) + concepts[concept_id]).hexdigest()
        for attempt_id, concept_id in identities
    ]
    return parts.with_columns(pl.Series("idempotency_key", keys, dtype=pl.String))


def masked(identifier: str | None) -> str:
    """A short hash that stands for an id where people may look, such as a report."""
    if identifier is None:
        return "null"
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _framed(part: str) -> bytes:
    data = part.encode()
    return len(data).to_bytes(8, "little") + data

"""The identity of an attempt from a file, and masked ids for people to see."""

from __future__ import annotations

import hashlib

import polars as pl

#: Number of byte lengths whose encodings are precomputed.
_LENGTHS = 256


def idempotency_key(source: str, attempt_id: str, concept_id: str) -> str:
    """Hash the length-prefixed parts, so that different identities never give the same text."""
    parts = (source, attempt_id, concept_id)
    return hashlib.sha256(b"".join(_framed(part) for part in parts)).hexdigest()


def with_idempotency_keys(parts: pl.DataFrame, source: str) -> pl.DataFrame:
    """Add a column `idempotency_key`, computed from source, attempt_id and concept_id."""
    begun, sha256 = _framed(source), hashlib.sha256
    concepts = {name: _framed(name) for name in parts["concept_id"].unique()}
    lengths = [_length(n) for n in range(_LENGTHS)]
    keys = []
    for attempt_id, concept_id in zip(
        parts["attempt_id"].to_list(), parts["concept_id"].to_list(), strict=True
    ):
        data = attempt_id.encode()
        n_bytes = len(data)
        length = lengths[n_bytes] if n_bytes < _LENGTHS else _length(n_bytes)
        keys.append(sha256(begun + length + data + concepts[concept_id]).hexdigest())
    return parts.with_columns(pl.Series("idempotency_key", keys, dtype=pl.String))


def masked(identifier: str | None) -> str:
    """Return a short hash that replaces an id where people read, such as in a report."""
    if identifier is None:
        return "null"
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _framed(part: str) -> bytes:
    data = part.encode()
    return _length(len(data)) + data


def _length(n_bytes: int) -> bytes:
    return n_bytes.to_bytes(8, "little")

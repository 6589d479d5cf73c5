"""The results of a shard, one per concept, and their file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bkt_core.judgement.evidence_json import evidence_as_json, evidence_from_json
from datasets.whole_files import already_json, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bkt_core.judgement.evidence import ConceptEvidence


class Origin(StrEnum):
    """The source of the fit of a concept."""

    FITTED = "fitted"  # fitted in this run
    REUSED = "reused"  # from an earlier run over the same attempts and settings
    KEPT = "kept"  # the parameters in force are kept without a test
    SKIPPED = "skipped"  # there was not enough data to fit
    FAILED = "failed"  # an exception was raised


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptWork:
    """The result for one concept of a shard."""

    concept_id: str
    origin: Origin
    fit_key: str | None
    evidence: ConceptEvidence | None  # None if it failed
    error: str | None = None
    #: The JSON of the fit, if it was written just now.
    fit_json: bytes | None = field(default=None, compare=False, repr=False)


def read_works(path: Path) -> list[ConceptWork]:
    """Read the results that `write_works` wrote."""
    return [
        ConceptWork(
            concept_id=work["concept_id"],
            origin=Origin(work["origin"]),
            fit_key=work["fit_key"],
            evidence=None if work["evidence"] is None else evidence_from_json(work["evidence"]),
            error=work["error"],
        )
        for work in read_json(path)["works"]
    ]


def write_works(path: Path, works: Sequence[ConceptWork]) -> None:
    """Write the file of a shard in one atomic step."""
    write_json(path, {"works": [_work_as_json(work) for work in works]}, on_one_line=True)


def _work_as_json(work: ConceptWork) -> dict[str, Any]:
    fit = None if work.fit_json is None else already_json(work.fit_json)
    return {
        "concept_id": work.concept_id,
        "origin": work.origin.value,
        "fit_key": work.fit_key,
        "evidence": None if work.evidence is None else evidence_as_json(work.evidence, fit=fit),
        "error": work.error,
    }

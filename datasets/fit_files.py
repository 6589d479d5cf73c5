"""One file per fit, named by everything it depends on, so that any run may reuse it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bkt_core.evaluation.concept_fit_json import concept_fit_as_json, concept_fit_from_json
from datasets.errors import ExtractError
from datasets.whole_files import one_line, read_json, whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bkt_core.evaluation.concept_fit import ConceptFit, FitPlan
    from bkt_core.fitting.shrinkage import Prior
    from datasets.sequences.readers import Window


def digest_of(values: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of plain values; the same values in any order give the same."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def settings_digest(
    plan: FitPlan, *, engine: str, shrink: bool, window: Window, left_out: str, version: str
) -> str:
    """Digest of what was chosen for the fits of a run: all they depend on besides attempts.

    `left_out` names the users whose attempts do not train, `version` the code that fits. That
    fits are drawn to a prior is chosen; the prior itself comes from attempts (`fit_key`).
    """
    chosen = {
        "plan": asdict(replace(plan, prior=None)),
        "engine": engine,
        "shrink": shrink,
        "since": window.since,
        "until": window.until,
        "left_out": left_out,
        "version": version,
    }
    known = {} if window.known_by is None else {"known_by": window.known_by}
    return digest_of(chosen | known)


def fit_key(
    concept_id: str, concept_digest: str, settings: str, *, prior: Prior | None = None
) -> str:
    """The name of the fit of one concept's attempts under one settings digest.

    `prior`: what the fit is drawn towards, where it is.
    """
    named = {"concept": concept_id, "attempts": concept_digest, "settings": settings}
    return digest_of(named if prior is None else named | {"prior": asdict(prior)})


def read_fit(fits_dir: Path, key: str) -> ConceptFit | None:
    """The fit of that name; None where there is none, or none that can be read."""
    path = _path(fits_dir, key)
    if not path.is_file():
        return None
    try:
        return concept_fit_from_json(read_json(path))
    except (ExtractError, KeyError, TypeError, ValueError):
        return None  # broken on disk: it is made again, and replaced


def write_fit(fits_dir: Path, key: str, fit: ConceptFit) -> bytes:
    """Keep a fit under its name; returns its JSON.

    Nothing waits for the disk: a fit that a power cut broke is made again (`read_fit`).
    """
    content = one_line(concept_fit_as_json(fit))
    with whole_file(_path(fits_dir, key), durable=False) as unfinished:
        unfinished.write_bytes(content)
    return content


def _path(fits_dir: Path, key: str) -> Path:
    return fits_dir / key[:2] / f"{key}.json"

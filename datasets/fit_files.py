"""One file per fit, named by everything that the fit depends on, so that runs can reuse it."""

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

    from bkt_core.engines import AnyPrior
    from bkt_core.evaluation.concept_fit import ConceptFit, FitPlan
    from datasets.sequences.readers import Window


def digest_of(values: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits that identify plain values; the order of keys is ignored."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def settings_digest(
    plan: FitPlan, *, engine: str, shrink: bool, window: Window, left_out: str, version: str
) -> str:
    """Digest the choices for the fits of a run: everything that they depend on but attempts.

    `left_out` names the users who are left out, `version` the code that fits. Whether fits use
    a prior is such a choice; the prior itself depends on attempts (`fit_key`).
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
    concept_id: str, concept_digest: str, settings: str, *, prior: AnyPrior | None = None
) -> str:
    """Return the name of the fit of one concept's attempts with one settings digest.

    `prior` is the prior of the fit; None if it has none.
    """
    named = {"concept": concept_id, "attempts": concept_digest, "settings": settings}
    return digest_of(named if prior is None else named | {"prior": asdict(prior)})


def read_fit(fits_dir: Path, key: str) -> ConceptFit | None:
    """Read the fit with that name; None if it is missing or unreadable."""
    path = _path(fits_dir, key)
    if not path.is_file():
        return None
    try:
        return concept_fit_from_json(read_json(path))
    except (ExtractError, KeyError, TypeError, ValueError):
        return None  # the file is corrupt: the fit is computed again and the file replaced


def write_fit(fits_dir: Path, key: str, fit: ConceptFit) -> bytes:
    """Store a fit under its name; return its JSON.

    The write is not synced to disk: a fit that a power failure corrupts is computed again.
    """
    content = one_line(concept_fit_as_json(fit))
    with whole_file(_path(fits_dir, key), durable=False) as unfinished:
        unfinished.write_bytes(content)
    return content


def _path(fits_dir: Path, key: str) -> Path:
    return fits_dir / key[:2] / f"{key}.json"

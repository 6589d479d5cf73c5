"""What an examination of `bkt doctor` finds, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_settings.pipeline import load_settings
from flows.health.findings import Level

if TYPE_CHECKING:
    from flows.health.findings import Examination, Finding


def found(examination: Examination) -> dict[str, Finding]:
    """What one examination finds, by name."""
    return {finding.name: finding for finding in examination(load_settings())}


def faulty(examination: Examination, name: str) -> str:
    """The one fault that an examination finds under a name, with its remedy in a sentence."""
    fault = found(examination)[name]
    assert fault.level is Level.FAIL
    assert fault.remedy is not None
    assert fault.remedy.endswith(".")
    return f"{fault.message} {fault.remedy}"

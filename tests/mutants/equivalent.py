"""Mutants that no test can notice, with the reason of each.

Keyed by the module and by its line as the mutant has it; a line that is no longer a mutant is
reported, so that this list does not outlive the code.
"""

from __future__ import annotations

EQUIVALENT: dict[str, dict[str, str]] = {}

"""Identify the code that makes fits, by a digest of this package's sources."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


@cache
def sources_digest() -> str:
    """Return 16 hexadecimal digits that change with any Python file of `bkt_core`.

    Stored fits are looked up by name. If the name had only the version of the package, a
    changed engine would reuse fits of the engine before.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]

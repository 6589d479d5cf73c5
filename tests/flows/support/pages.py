"""Commands of the pages: fenced `sh` and `python` blocks, in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(
    r"^```(?P<language>\S+)(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SKIP = re.compile(r'skip="(?P<why>[^"]+)"')
_AFTER = re.compile(r"<!-- after: (?P<page>\S+) -->")
RUN = ("sh", "console", "python")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `skipped` says why it is not run."""

    language: str
    code: str
    line: int
    skipped: str | None


def blocks_of(page: Path) -> list[Block]:
    """What a page tells its reader to run, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        if fence["language"] in RUN:
            skip = _SKIP.search(fence["info"])
            line = text.count("\n", 0, fence.start()) + 1
            why = None if skip is None else skip["why"]
            found.append(Block(fence["language"], fence["code"], line, why))
    return found


def page_before(page: Path) -> Path | None:
    """The page in whose folder this one goes on."""
    after = _AFTER.search(page.read_text(encoding="utf-8"))
    return None if after is None else page.parent / after["page"]


def script_of(page: Path) -> str:
    """All blocks of a page as one script of bash: variables last, a failure is named."""
    lines = ["set -euo pipefail"]
    for block in blocks_of(page):
        if block.skipped is None:
            lines.append(f"trap 'echo \"{page.name}, line {block.line}\" >&2' ERR")
            code = block.code
            if block.language == "python":
                code = f"python - <<'END_OF_PYTHON'\n{code}END_OF_PYTHON\n"
            lines.append(code)
    return "\n".join(lines)

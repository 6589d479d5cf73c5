"""Output of a command: tables and sentences, or one JSON object with `--json`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """Flags that every command has."""

    json: Annotated[bool, Parameter(negative="")] = False
    "Print one JSON object on stdout and nothing else."
    debug: Annotated[bool, Parameter(negative="")] = False
    "Show the traceback of an error."

    def give(self, payload: Mapping[str, Any], human: Callable[[Console], None]) -> None:
        """Print the payload as JSON, or let `human` print it for people."""
        if self.json:
            sys.stdout.write(json.dumps(payload, allow_nan=False, default=str) + "\n")
            return
        human(Console(highlight=False, markup=False, soft_wrap=True, width=self._width()))

    @staticmethod
    def _width() -> int | None:
        """Return the width of the terminal; files and pipes get long lines."""
        return None if sys.stdout.isatty() else 160


DEFAULT_OUTPUT = Output()

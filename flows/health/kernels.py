"""Compiled kernels: check the cache, or fill it with `python -m flows.health.kernels`.

Numba caches compiled code beside the sources. `make install` compiles everything; otherwise the
first run does, and says so.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from flows.runs.compiled import is_compiled, kernels_of

#: Two programs that are compiled in parallel: nights of v1 and v2; rows, and nights of versions
#: that forget. The kernels of replay, which both need, are small.
_FIT = (
    "from bkt_core.evaluation.limits import GateLimits; "
    "from bkt_core.judgement.warm_up import compile_kernels; "
    "compile_kernels('em', GateLimits())"
)
_ROWS = (
    "from datasets.sequences.warm_up import compile_row_kernels; "
    "from datasets.store.states.replays import warm_up; "
    "from bkt_core.evaluation.limits import GateLimits; "
    "from bkt_core.judgement.warm_up import FORGETTING, compile_kernels; "
    "compile_row_kernels(); warm_up(); compile_kernels('em', GateLimits(), FORGETTING)"
)


def cached_kernels() -> list[Any]:
    """Return the compiled functions of both programs that Numba caches on disk."""
    from bkt_core import kernels
    from datasets import row_kernels

    return [one for module in (kernels, row_kernels) for one in kernels_of(module)]


def announce_compilation() -> None:
    """Print on stderr that the run will compile, if nothing is compiled yet."""
    if not any(map(is_compiled, cached_kernels())):
        sys.stderr.write(
            "bkt: compiling the kernels, once for this installation; that takes about half a "
            "minute.\n"
        )


def main() -> int:
    """Compile what is missing; return the exit code."""
    before = time.monotonic()
    sys.stdout.write("Compiling the kernels, once: about half a minute ...\n")
    sys.stdout.flush()
    halves = [subprocess.Popen([sys.executable, "-c", half]) for half in (_FIT, _ROWS)]  # noqa: S603 - our own code
    codes = [half.wait() for half in halves]
    result = f"compiled in {time.monotonic() - before:.0f} s" if not any(codes) else "failed"
    sys.stdout.write(f"The kernels: {result}.\n")
    return max(map(abs, codes))


if __name__ == "__main__":
    sys.exit(main())

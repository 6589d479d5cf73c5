"""Whether Numba's cache on disk has compiled kernels, and a notice where it has not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from bkt_core.params import AlgoParams


def kernels_of(module: ModuleType) -> list[Any]:
    """Return the compiled functions of one module."""
    found = [one for one in vars(module).values() if hasattr(one, "stats")]
    return [one for one in found if one.stats.cache_path is not None]


def is_compiled(kernel: Any) -> bool:  # noqa: ANN401 - Numba's dispatcher
    """Return whether Numba's cache on disk has this function for the current source.

    Numba compares a hash of the source, not its time; for another source the index is empty.
    """
    return bool(kernel._cache._cache_file._load_index())


def announce_variants(*algos: AlgoParams) -> None:
    """Print on stderr that a run will compile the kernels of variants, if it will.

    `make install` compiles those of versions with forgetting.
    """
    if all(algo.variant.is_plain for algo in algos):
        return
    from bkt_core.family import kernels

    if not any(map(is_compiled, kernels_of(kernels))):
        sys.stderr.write(
            "bkt: compiling the kernels of versions with a variant, once for this "
            "installation; that takes about half a minute.\n"
        )

"""What every child of the harness needs, imported and compiled once, before the first fork."""

from __future__ import annotations

import gc
import importlib
import sys
from importlib.metadata import entry_points

#: Slow to import, and none of it is mutated.
LIBRARIES = (
    "numpy", "numba", "polars", "pyarrow", "sqlalchemy", "alembic", "sklearn.metrics",
    "psycopg", "hypothesis", "pydantic", "pydantic_settings", "scipy.stats",
)  # fmt: skip
OF_FLOWS = ("prefect", "mlflow.tracking")
OF_SERVING = ("fastapi", "jwt", "cryptography.hazmat.primitives.asymmetric.ec")
PRODUCT = ("bkt_core", "bkt_settings", "datasets", "flows", "serving")
#: Compiled code, which is not mutated: what was compiled or read from disk stays.
COMPILED = ("bkt_core.kernels", "bkt_core.family.kernels", "datasets.row_kernels")


def preload(patterns: tuple[str, ...]) -> None:
    """Import the libraries that tests of some modules need, and compile the kernels.

    The product's own modules are forgotten again, so that each child imports the mutated one
    and all that imports it.
    """
    libraries = list(LIBRARIES)
    if any(pattern.startswith("flows/") for pattern in patterns):
        importlib.import_module("flows.deployment.home").stay_offline()  # before Prefect
        libraries += OF_FLOWS
    if any(pattern.startswith("serving/") for pattern in patterns):
        libraries += OF_SERVING
    for library in libraries:
        importlib.import_module(library)
    for plugin in entry_points(group="pytest11"):
        plugin.load()
    _compile()
    for name in [name for name in sys.modules if name.split(".")[0] in PRODUCT]:
        if name not in COMPILED:
            del sys.modules[name]
    gc.collect()
    gc.freeze()  # a child collects only what it made itself


def _compile() -> None:
    from bkt_core.evaluation.limits import GateLimits
    from bkt_core.judgement.warm_up import compile_kernels

    compile_kernels("em", GateLimits())

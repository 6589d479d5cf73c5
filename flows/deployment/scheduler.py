"""Loaded by Prefect's server when it starts; lets its scheduler insert runs on SQLAlchemy 2.1.

Prefect 3.8 passes rows with a key `state`, which is not a column, to a bulk insert of flow
runs. SQLAlchemy 2.0 ignored such a key; 2.1 asks the hybrid attribute of that name how to
handle it, and raises if there is no answer. Then no scheduled run is ever created, and only the
server's log shows the error. The function here gives the answer of 2.0: ignore the key.

An entry point of the group `prefect.collections` is imported, not called; therefore the import
has the effect, and only in a process that is a Prefect server. Remove this module when Prefect
fixes it (docs/decisions/0801; tests/flows/deployment/test_scheduling.py would show it).
"""

from __future__ import annotations

import sys
from typing import Any

#: This module is imported only in processes that create a server.
_SERVER = "prefect.server.api.server"


def pass_over(_cls: type, _row: dict[str, Any], _value: object) -> None:
    """Ignore a value that belongs to no column in a bulk insert."""


def patch_scheduler() -> None:
    """Make the hybrid `state` of flow runs ignore values, if SQLAlchemy asks it."""
    from prefect.server.database.orm_models import FlowRun
    from sqlalchemy import inspect

    hybrid = inspect(FlowRun).all_orm_descriptors["state"]
    if getattr(hybrid, "bulk_dml_setter", pass_over) is None:
        hybrid.bulk_dml_setter = pass_over  # type: ignore[attr-defined] # new in 2.1


if _SERVER in sys.modules:
    patch_scheduler()

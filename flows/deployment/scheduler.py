"""Loaded by Prefect's server as it starts: lets its scheduler insert runs on SQLAlchemy 2.1.

Prefect 3.8 hands rows to a bulk insert that hold `state` beside the columns of a flow run.
SQLAlchemy 2.0 passed over such a key; 2.1 asks the hybrid of that name what to do with it and
raises where it does not say. Without an answer no scheduled run is ever created: the service
fails at every turn, only the server's log tells. The answer given here is that of 2.0: nothing.

An entry point of the group `prefect.collections` is imported, not called, so the import acts;
and only in a process that is a Prefect server. To go when Prefect says it itself
(docs/decisions/0801; tests/flows/deployment/test_scheduling.py would tell).
"""

from __future__ import annotations

import sys
from typing import Any

#: Imported where, and only where, a server is made.
_SERVER = "prefect.server.api.server"


def pass_over(_cls: type, _row: dict[str, Any], _value: object) -> None:
    """What a bulk insert does with a value that belongs to no column."""


def mend() -> None:
    """Give the hybrid `state` of flow runs its answer, where SQLAlchemy asks for one."""
    from prefect.server.database.orm_models import FlowRun
    from sqlalchemy import inspect

    hybrid = inspect(FlowRun).all_orm_descriptors["state"]
    if getattr(hybrid, "bulk_dml_setter", pass_over) is None:
        hybrid.bulk_dml_setter = pass_over  # type: ignore[attr-defined] # new in 2.1


if _SERVER in sys.modules:
    mend()

"""What all tables share: names of constraints, column types, comparable times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, MetaData
from sqlalchemy.orm import DeclarativeBase

from datasets.store.schema.types import Double, Json, UtcDateTime

#: Every constraint has a name, so that error messages and migrations can refer to it.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

#: Format of times in SQLite; PostgreSQL has its own type.
MOMENT = (
    "-".join(["[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2])
    + " "
    + ":".join(["[0-9]" * 2] * 3)
    + "."
    + "[0-9]" * 6
)


def finite(column: str) -> tuple[CheckConstraint, CheckConstraint]:
    """Return the constraints that restrict times to values that both databases sort alike."""
    name = f"{column}_is_finite"
    return (
        CheckConstraint(f"isfinite({column})", name=name).ddl_if(dialect="postgresql"),
        CheckConstraint(f"{column} GLOB '{MOMENT}'", name=name).ddl_if(dialect="sqlite"),
    )


class Base(DeclarativeBase):
    """Base class of the tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: UtcDateTime(), float: Double, dict[str, Any]: Json()}  # noqa: RUF012 - SQLAlchemy's own convention

"""The schema's revision: bring it up to date, take it down, insist on it.

Alembic is imported only where it migrates: to find that nothing must be done needs a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from datasets.store.connections.engines import reading, redacted, require_reachable
from datasets.store.connections.locks import named_key
from datasets.store.errors import NotMigratedError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"


def head_revision() -> str:
    """The revision that this program was written for."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def current_revision(engine: Engine) -> str | None:
    """The revision the database is at; None where there is no schema."""
    require_reachable(engine)
    with reading(engine) as conn:
        if not inspect(conn).has_table("alembic_version"):
            return None
        found = conn.execute(
            text("SELECT version_num FROM alembic_version")
        ).scalar_one_or_none()
        return None if found is None else str(found)


def require_current(engine: Engine) -> None:
    """Refuse a database that `bkt init` has not brought up to date."""
    found = None if _has_no_file(engine) else current_revision(engine)
    if found != head_revision():
        url = redacted(engine.url.render_as_string(hide_password=False))
        raise NotMigratedError(url=url, found=found, expected=head_revision())


def upgrade(engine: Engine, to: str = "head") -> None:
    """Bring the schema up to a revision; harmless when it is there already."""
    require_reachable(engine)
    with engine.begin() as conn:
        _one_migration_at_a_time(conn)
        from alembic import command

        command.upgrade(_config(conn), to)


def downgrade(engine: Engine, to: str = "base") -> None:
    """Take the schema down to a revision; `base` leaves nothing."""
    require_reachable(engine)
    with engine.begin() as conn:
        _one_migration_at_a_time(conn)
        from alembic import command

        command.downgrade(_config(conn), to)


def _has_no_file(engine: Engine) -> bool:
    """Whether this is SQLite and nothing was ever written; to connect would make the file."""
    database = engine.url.database
    return (
        engine.dialect.name == "sqlite"
        and database not in (None, "", ":memory:")
        and not Path(str(database)).exists()
    )


def _config(conn: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config


def _one_migration_at_a_time(conn: Connection) -> None:
    if conn.dialect.name == "postgresql":
        key = named_key("schema")
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

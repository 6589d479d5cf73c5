"""The revision of the schema: upgrade it, downgrade it, require it.

Alembic is imported only to migrate; checking the revision does not need it.
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
    """Return the revision that this program was written for."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def current_revision(engine: Engine) -> str | None:
    """Return the revision of the database; None without a schema."""
    require_reachable(engine)
    with reading(engine) as conn:
        if not inspect(conn).has_table("alembic_version"):
            return None
        found = conn.execute(
            text("SELECT version_num FROM alembic_version")
        ).scalar_one_or_none()
        return None if found is None else str(found)


def require_current(engine: Engine) -> None:
    """Raise `NotMigratedError` unless `bkt init` has upgraded the database."""
    found = None if _has_no_file(engine) else current_revision(engine)
    if found != head_revision():
        url = redacted(engine.url.render_as_string(hide_password=False))
        raise NotMigratedError(url=url, found=found, expected=head_revision())


def upgrade(engine: Engine, to: str = "head") -> None:
    """Upgrade the schema to a revision; may be repeated."""
    require_reachable(engine)
    with engine.begin() as conn:
        _one_migration_at_a_time(conn)
        from alembic import command

        command.upgrade(_config(conn), to)


def downgrade(engine: Engine, to: str = "base") -> None:
    """Downgrade the schema to a revision; `base` removes everything."""
    require_reachable(engine)
    with engine.begin() as conn:
        _one_migration_at_a_time(conn)
        from alembic import command

        command.downgrade(_config(conn), to)


def _has_no_file(engine: Engine) -> bool:
    """Return whether this is a SQLite file that does not exist; connecting would create it."""
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

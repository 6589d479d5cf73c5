"""Algorithm versions of a database: list them, add candidates, retire them.

Settings are read as plain JSON, so that a version of another release can be shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, select, update

from bkt_core.errors import BadInputError
from bkt_core.params import AlgoParams, unknown_settings
from datasets.store.errors import UnknownAlgorithmError
from datasets.store.params.algorithms import ALGO_KEY
from datasets.store.params.events import EventDecision
from datasets.store.schema.sql import insert_into
from datasets.store.schema.tables import (
    AlgoParamsRow,
    AlgoVersionRow,
    PromotionEventRow,
    SkillParamsRow,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

ACTIVE, CANDIDATE, RETIRED = "ACTIVE", "CANDIDATE", "RETIRED"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: With a slip or guess of at least one half, an outcome would be evidence of its opposite.
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version as stored; `settings` is the JSON of `algo_params`."""

    id: int
    version: str
    status: str
    created_at: datetime
    settings: dict[str, Any]
    #: Number of concepts with parameters that are in force once this version is ACTIVE.
    concepts_fitted: int
    #: Number of rows of `bkt_skill_params`, active or not.
    rows: int
    #: When the version in force was activated, or added if nothing was fitted by then; None of
    #: other versions.
    in_force_since: datetime | None

    @property
    def unknown(self) -> list[str]:
        """Settings that this release does not know; it refuses a version that has any."""
        return unknown_settings(self.settings)


def list_versions(conn: Connection) -> tuple[Version, ...]:
    """Return every version, in the order in which they were added."""
    fitted = func.sum(case((SkillParamsRow.is_active, 1), else_=0))
    rows = (
        select(
            SkillParamsRow.algo_version_id, func.count().label("n"), fitted.label("n_fitted")
        )
        .group_by(SkillParamsRow.algo_version_id)
        .subquery()
    )
    events = PromotionEventRow
    activated = conn.execute(
        select(events.algo_version_id, func.max(events.created_at))
        .where(events.decision == EventDecision.ACTIVATED.value)
        .group_by(events.algo_version_id)
    )
    since = {version: at for version, at in activated}  # noqa: C416 - of rows
    found = conn.execute(
        select(AlgoVersionRow.__table__, AlgoParamsRow.params, rows.c.n, rows.c.n_fitted)
        .outerjoin(AlgoParamsRow, AlgoParamsRow.algo_version_id == AlgoVersionRow.id)
        .outerjoin(rows, rows.c.algo_version_id == AlgoVersionRow.id)
        .where(AlgoVersionRow.algo_key == ALGO_KEY)
        .order_by(AlgoVersionRow.id)
    )
    return tuple(
        Version(
            id=row.id,
            version=row.version,
            status=row.status,
            created_at=row.created_at,
            settings=row.params or {},
            concepts_fitted=int(row.n_fitted or 0),
            rows=int(row.n or 0),
            in_force_since=since.get(row.id, row.created_at) if row.status == ACTIVE else None,
        )
        for row in found
    )


def any_reads_details(conn: Connection, names: Collection[str]) -> bool:
    """Return whether the version in force or one of `names` reads questions or stamps."""
    return any(
        one.settings.get("variant", {}).get(part)
        for one in list_versions(conn)
        if one.status == ACTIVE or one.version in names
        for part in ("questions", "history")
    )


def version_named(versions: Sequence[Version], name: str) -> Version:
    """Return the version of that name; raises `UnknownAlgorithmError`."""
    for one in versions:
        if one.version == name:
            return one
    raise UnknownAlgorithmError(version=name, known=tuple(one.version for one in versions))


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten settings to one key each; those of an object become `constraints.L0_max`."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            flat[key] = value
    return flat


def differences(
    settings: Mapping[str, Any], others: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return flat keys whose values differ, with both values; None where a key is missing."""
    ours, theirs = flat_settings(settings), flat_settings(others)
    return {
        key: (ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    }


def require_meaningful(settings: Mapping[str, Any]) -> AlgoParams:
    """Check that a version with these settings can be used; raises `BktError` otherwise."""
    algo = AlgoParams.from_json(settings)
    checks = settings.get("degeneracy_checks", {})
    differ = checks.get("require_learned_better_than_unlearned", True)
    if not isinstance(differ, bool):
        raise BadInputError(
            f"require_learned_better_than_unlearned must be true or false, got {differ!r}."
        )
    box = algo.bounds
    for letter, low in (("S", box.S_min), ("G", box.G_min)):
        if low >= _HALF:
            raise BadInputError(
                f"constraints.{letter}_min must be below 0.5, got {low:g}: no fit inside "
                "these bounds could pass the gates."
            )
    letters = algo.defaults
    for name, value in letters.as_dict().items():
        if not 0.0 < value < 1.0:
            raise BadInputError(
                f"default_{name.removeprefix('p_')} must be between 0 and 1, got {value:g}."
            )
    if letters.p_S >= _HALF or letters.p_G >= _HALF:
        raise BadInputError(
            "default_S and default_G must be below 0.5, got "
            f"{letters.p_S:g} and {letters.p_G:g}: an outcome would be evidence of its "
            "opposite."
        )
    return algo


def add_version(
    conn: Connection, name: str, settings: Mapping[str, Any], *, at: datetime
) -> bool:
    """Insert a CANDIDATE; return False if it exists with the same settings.

    All settings are stored, omitted ones with the current defaults. Raises `BadInputError` if a
    version of that name has other settings, because settings never change.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(
            "The name of a version must be 1 to 64 letters, digits, dots, dashes or "
            f"underscores, beginning with a letter or digit, got {name!r}."
        )
    whole = require_meaningful(settings).as_json()
    added = conn.execute(
        insert_into(conn, AlgoVersionRow)
        .values(algo_key=ALGO_KEY, version=name, status=CANDIDATE, created_at=at)
        .on_conflict_do_nothing()
        .returning(AlgoVersionRow.id)
    ).scalar_one_or_none()
    if added is None:
        stored = version_named(list_versions(conn), name)
        changed = differences(stored.settings, whole)
        if not changed:
            return False
        raise BadInputError(
            f"Version {name!r} exists with other settings, which never change "
            f"({', '.join(changed)}); add these under another name."
        )
    conn.execute(insert_into(conn, AlgoParamsRow).values(algo_version_id=added, params=whole))
    return True


def retire_version(conn: Connection, name: str) -> bool:
    """Retire a candidate; its rows stay. Return False if it is already retired.

    Raises `BadInputError` for the ACTIVE version.
    """
    wanted = and_(AlgoVersionRow.algo_key == ALGO_KEY, AlgoVersionRow.version == name)
    done = conn.execute(
        update(AlgoVersionRow)
        .where(wanted, AlgoVersionRow.status == CANDIDATE)
        .values(status=RETIRED)
    )
    if done.rowcount:
        return True
    if version_named(list_versions(conn), name).status == ACTIVE:
        raise BadInputError(
            f"Version {name!r} is in force, so it cannot be retired; activate another first."
        )
    return False

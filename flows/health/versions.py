"""The algorithm versions: whether this release runs them, and nights can fit what they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bkt_core.errors import BktError
from datasets.store.connections.engines import reading
from datasets.store.params.versions import ACTIVE, RETIRED, list_versions
from datasets.store.runs.runs import RunStatus, list_runs
from flows.health.findings import fail, ok, warn
from flows.runs.database import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from bkt_settings.pipeline import Settings
    from datasets.store.params.versions import Version
    from flows.health.findings import Finding

NAME = "versions"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """One version as `bkt status` shows it."""

    version: str
    status: str
    #: Concepts with parameters that are in force, or would be.
    concepts_fitted: int
    #: Whether each night fits it.
    in_nights: bool
    #: Settings that this release does not know.
    unknown_settings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsStatus:
    """The versions that are in sight, and an activation that did not come to its end."""

    versions: tuple[VersionStatus, ...]
    unfinished: str | None

    def as_json(self) -> list[dict[str, Any]]:
        """What `bkt status --json` prints."""
        return [
            {
                "version": one.version,
                "status": one.status,
                "concepts_fitted": one.concepts_fitted,
                "in_nights": one.in_nights,
                "unknown_settings": list(one.unknown_settings),
                "activation_unfinished": one.version == self.unfinished,
            }
            for one in self.versions
        ]


def versions_status(conn: Connection, candidates: Sequence[str]) -> VersionsStatus:
    """All versions but the retired ones, in the order in which they came."""
    shown = [one for one in list_versions(conn) if one.status != RETIRED]
    active = next((one.version for one in shown if one.status == ACTIVE), None)
    return VersionsStatus(
        versions=tuple(
            VersionStatus(
                version=one.version,
                status=one.status,
                concepts_fitted=one.concepts_fitted,
                in_nights=one.status == ACTIVE or one.version in candidates,
                unknown_settings=tuple(one.unknown),
            )
            for one in shown
        ),
        unfinished=unfinished_activation(conn, active),
    )


def unfinished_activation(conn: Connection, active: str | None) -> str | None:
    """The version in force, if its activation flipped and did not come to its end."""
    last = next(iter(list_runs(conn, kind="activate")), None)
    if last is None or last.status is RunStatus.DONE or active is None:
        return None
    asked = last.manifest.get("asked", {}).get("version")
    return active if asked == active else None


def examine_versions(settings: Settings) -> Iterator[Finding]:
    """Whether the version in force and the candidates of nights can be run."""
    try:
        with open_database(settings) as engine, reading(engine) as conn:
            versions = {one.version: one for one in list_versions(conn)}
            active = next((one for one in versions.values() if one.status == ACTIVE), None)
            unfinished = unfinished_activation(conn, active.version if active else None)
    except BktError:
        return  # told where the database is examined
    if active is None:
        yield fail(NAME, "no version is in force", "Run `bkt init`.")
        return
    wrong = [*_unknown(active), *_candidates(settings, versions)]
    yield from wrong
    if unfinished is not None:
        yield warn(
            NAME,
            f"the activation of {unfinished} did not come to its end: readers replay states",
            f"Run `bkt algo activate {unfinished}` again.",
        )
    elif not wrong:
        beside = ", ".join(one for one in settings.fit.candidates if one != active.version)
        told = f"; nights also fit {beside}" if beside else ""
        yield ok(NAME, f"{active.version} is in force{told}")


def _candidates(settings: Settings, versions: dict[str, Version]) -> Iterator[Finding]:
    """Names in `[fit] candidates` that no night can fit."""
    for name in settings.fit.candidates:
        found = versions.get(name)
        if found is None or found.status == RETIRED:
            what = "there is no such version" if found is None else "it is retired"
            yield fail(
                NAME,
                f"[fit] candidates names {name}, and {what}",
                "Take it out, or see `bkt algo list --all`.",
            )
        elif found.status != ACTIVE:
            yield from _unknown(found)


def _unknown(one: Version) -> Iterator[Finding]:
    if one.unknown:
        yield fail(
            NAME,
            f"this release does not run {one.version}: it does not know "
            f"{', '.join(one.unknown)}",
            "Install the release that added it, or activate another version.",
        )

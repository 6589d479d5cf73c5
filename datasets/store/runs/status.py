"""Status queries: the last runs, the parameters in force, states that wait for a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from datasets.store.params.events import pinned_concepts
from datasets.store.runs.runs import RunStatus
from datasets.store.schema.tables import PromotionEventRow, RunRow, SkillParamsRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

#: One scan of the states: the number of states per concept, and how many a sweep would write.
_STATES = text("""
    SELECT s.concept_id, count(*) AS n_states,
        count(CASE WHEN s.is_stale THEN 1 END) AS n_stale,
        count(CASE WHEN NOT s.is_stale AND (s.algo_version_id <> :algo_version_id
              OR s.param_id IS DISTINCT FROM p.id) THEN 1 END) AS n_old
    FROM bkt_user_skill_state s
    LEFT JOIN bkt_skill_params p ON p.concept_id = s.concept_id
        AND p.algo_version_id = :algo_version_id AND p.is_active
    GROUP BY s.concept_id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """One run, as shown in a list."""

    run_id: str
    kind: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None
    manifest: Mapping[str, Any]
    #: Number of concepts by decision, from the run's events.
    decisions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesStatus:
    """Numbers of stored states, and of those that readers would replay."""

    total: int
    #: Number of states with attempts that their value does not include.
    stale: int
    #: Number of other states with parameters that are no longer in force.
    old_stamped: int
    #: Number of concepts with stale or old-stamped states.
    concepts_outstanding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsStatus:
    """Numbers of concepts by the parameters in force."""

    #: Number of concepts with states or with parameters in force.
    concepts: int
    fitted: int
    pinned: int
    newest_fit: datetime | None
    #: Time of the last attempt that any fit in force was fitted on.
    data_until: datetime | None

    @property
    def at_defaults(self) -> int:
        """The number of concepts without fitted parameters in force."""
        return self.concepts - self.fitted


def last_runs(conn: Connection, n: int) -> tuple[RunOverview, ...]:
    """Return the `n` newest runs of any kind, newest first."""
    rows = conn.execute(
        select(
            RunRow.run_id,
            RunRow.kind,
            RunRow.status,
            RunRow.started_at,
            RunRow.finished_at,
            RunRow.manifest,
        )
        .order_by(func.coalesce(RunRow.finished_at, RunRow.started_at).desc(), RunRow.run_id)
        .limit(n)
    ).all()
    decisions = _decisions(conn, [row.run_id for row in rows])
    return tuple(
        RunOverview(
            run_id=row.run_id,
            kind=row.kind,
            status=RunStatus(row.status),
            started_at=row.started_at,
            finished_at=row.finished_at,
            manifest=row.manifest,
            decisions=decisions.get(row.run_id, {}),
        )
        for row in rows
    )


def params_and_states_status(
    conn: Connection, algo_version_id: int
) -> tuple[ParamsStatus, StatesStatus]:
    """Count parameters in force and states, in one snapshot.

    It reads every state once, which takes about a second for some millions.
    """
    by_concept = conn.execute(_STATES, {"algo_version_id": algo_version_id}).all()
    in_force = conn.execute(
        select(
            SkillParamsRow.concept_id,
            SkillParamsRow.fitted_at,
            SkillParamsRow.fitted_on_data_to,
        ).where(SkillParamsRow.algo_version_id == algo_version_id, SkillParamsRow.is_active)
    ).all()
    pinned = pinned_concepts(conn, algo_version_id)
    fitted = {row.concept_id for row in in_force}
    concepts = fitted.union(pinned, (row.concept_id for row in by_concept))
    ends = [row.fitted_on_data_to for row in in_force if row.fitted_on_data_to is not None]
    return (
        ParamsStatus(
            concepts=len(concepts),
            fitted=len(fitted),
            pinned=len(pinned),
            newest_fit=max((row.fitted_at for row in in_force), default=None),
            data_until=max(ends, default=None),
        ),
        StatesStatus(
            total=sum(row.n_states for row in by_concept),
            stale=sum(row.n_stale for row in by_concept),
            old_stamped=sum(row.n_old for row in by_concept),
            concepts_outstanding=sum(row.n_stale + row.n_old > 0 for row in by_concept),
        ),
    )


def _decisions(conn: Connection, run_ids: list[str]) -> dict[str, dict[str, int]]:
    counted = conn.execute(
        select(PromotionEventRow.run_id, PromotionEventRow.decision, func.count().label("n"))
        .where(PromotionEventRow.run_id.in_(run_ids))
        .group_by(PromotionEventRow.run_id, PromotionEventRow.decision)
    )
    found: dict[str, dict[str, int]] = {}
    for row in counted:
        found.setdefault(row.run_id, {})[row.decision] = row.n
    return found

"""Refuse unknown concepts, and suggest similar names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from bkt_core.errors import UsageError
from datasets.store.schema.tables import MasteryStateRow, PromotionEventRow, SkillParamsRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection
    from sqlalchemy.orm import QueryableAttribute

_WHERE_CONCEPTS_STAND = (
    MasteryStateRow.concept_id,
    SkillParamsRow.concept_id,
    PromotionEventRow.concept_id,
)


def refuse_unknown_concepts(conn: Connection, option: str, concepts: Iterable[str]) -> None:
    """Raise `UsageError` for the first concept without attempts, parameters or decisions."""
    for concept in concepts:
        if any(_stands(conn, column, concept) for column in _WHERE_CONCEPTS_STAND):
            continue
        known = {
            name
            for column in _WHERE_CONCEPTS_STAND
            for name in conn.execute(select(column).distinct()).scalars()
        }
        raise UsageError(
            f"{option} must name a concept that has attempts or parameters, "
            f"got {concept!r}{_hint(concept, known)}"
        )


def refuse_unattempted_concepts(asked: Iterable[str], attempted: Collection[str]) -> None:
    """Raise `UsageError` for a concept that nobody attempted."""
    unknown = sorted(set(asked) - set(attempted))
    if unknown:
        raise UsageError(
            f"--concept must name concepts with attempts, got {unknown[0]!r}, which has none"
            f"{_hint(unknown[0], attempted)}"
        )


def _hint(concept: str, known: Collection[str]) -> str:
    close = get_close_matches(concept, sorted(known))
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "."


def _stands(conn: Connection, column: QueryableAttribute[str], concept: str) -> bool:
    return bool(conn.execute(select(exists().where(column == concept))).scalar_one())

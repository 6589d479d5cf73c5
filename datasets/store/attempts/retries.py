"""The share of attempts that repeat a question, on a sample of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from datasets.store.schema.tables import AttemptRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

#: Number of users in the sample; more would require a scan of a large log.
SAMPLED_USERS = 500


@dataclass(frozen=True, slots=True)
class RetryShare:
    """Numbers of attempts at questions, and of those that repeat a question of their user."""

    n_users: int
    n_answers: int
    n_retries: int

    @property
    def share(self) -> float | None:
        """The share of repeated attempts; None if no attempt names a question."""
        return self.n_retries / self.n_answers if self.n_answers else None


def retry_share(conn: Connection, users: Sequence[str]) -> RetryShare:
    """Count the attempts of at most `SAMPLED_USERS` of `users`, evenly spaced.

    Rows of one attempt at several concepts have the same time and count once.
    """
    step = max(1, -(-len(users) // SAMPLED_USERS))
    sample = list(users[::step])
    answers = (
        select(func.count(AttemptRow.attempted_at.distinct()).label("n"))
        .where(AttemptRow.user_id.in_(sample), AttemptRow.question_id.is_not(None))
        .group_by(AttemptRow.user_id, AttemptRow.question_id)
        .subquery()
    )
    total, questions = conn.execute(
        select(func.coalesce(func.sum(answers.c.n), 0), func.count())
    ).one()
    return RetryShare(len(sample), int(total), int(total) - int(questions))

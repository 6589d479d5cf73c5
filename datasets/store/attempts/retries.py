"""How often users answer a question again: the share of retries, on a sample of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from datasets.store.schema.tables import AttemptRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

#: Users whose answers are counted; more would cost a large log a scan.
SAMPLED_USERS = 500


@dataclass(frozen=True, slots=True)
class RetryShare:
    """Answers to questions, and those whose user had answered the question before."""

    n_users: int
    n_answers: int
    n_retries: int

    @property
    def share(self) -> float | None:
        """Retries of the answers; None where no answer names a question."""
        return self.n_retries / self.n_answers if self.n_answers else None


def retry_share(conn: Connection, users: Sequence[str]) -> RetryShare:
    """Count the answers of at most `SAMPLED_USERS` of some users, evenly spaced among them.

    The rows of one answer at several concepts have one moment and count once.
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

"""The questions of a concept by their odds: hardest, easiest, and those out of line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Questions from which on a question can be out of line with the others.
MIN_QUESTIONS = 8
#: Standard deviations of the others beyond which a whole interval must lie.
FAR = 2.0
_Z95 = 1.959963984540054
#: Median absolute deviation to standard deviation, for a normal distribution.
_MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question within a concept; odds multiply the odds of a right answer."""

    question_id: str
    odds: float
    #: 95 %; None if the standard error is not known.
    interval: tuple[float, float] | None
    n_attempts: int
    #: The odds in the row of parameters before; None if it had none.
    before: float | None
    #: Whether it is much harder or easier than the others, as a question with a wrong key is.
    out_of_line: bool


def questions_of(
    odds: Mapping[str, float],
    *,
    n_attempts: Mapping[str, int],
    errors: Mapping[str, float],
    before: Mapping[str, float],
) -> list[Question]:
    """Return the questions of a concept, hardest first.

    `errors` are standard errors of the logarithms. A question is out of line if its whole 95 %
    interval lies more than two standard deviations from the median of all questions (by the
    median absolute deviation, so that the question itself counts little).
    """
    logs = {name: math.log(value) for name, value in odds.items()}
    middle = median(logs.values()) if logs else 0.0
    spread = _MAD_TO_SD * median(abs(one - middle) for one in logs.values()) if logs else 0.0
    found = []
    for name in sorted(logs, key=lambda one: (logs[one], one)):
        error = errors.get(name)
        away = abs(logs[name] - middle)
        far = error is not None and away - _Z95 * error > FAR * spread
        found.append(
            Question(
                question_id=name,
                odds=odds[name],
                interval=None if error is None else _interval(logs[name], error),
                n_attempts=n_attempts.get(name, 0),
                before=before.get(name),
                out_of_line=far and len(logs) >= MIN_QUESTIONS,
            )
        )
    return found


def _interval(log_odds: float, error: float) -> tuple[float, float]:
    return math.exp(log_odds - _Z95 * error), math.exp(log_odds + _Z95 * error)

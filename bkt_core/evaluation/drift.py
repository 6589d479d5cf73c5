"""Whether parameters in force still predict as cross-validation promised.

A log loss alone cannot be held against the promised one: users who have just begun answer less
predictably than those who are almost there, and an average over other opportunities is another
number. What predictions expect of themselves follows the opportunities: an attempt predicted
with p should cost its entropy. The excess over it (and the residual, right minus p) is compared
between the attempts that the parameters were fitted on, held out by fold, and the later ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bkt_core.evaluation.comparison import adjusted_p, sign_flip_p
from bkt_core.evaluation.metrics import EPSILON, attempt_losses, score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bkt_core.evaluation.metrics import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptDrift:
    """The later attempts of one concept against what was promised for them."""

    concept_id: str
    n_attempts: int  # later than the data of the fit
    n_users: int
    scores: Scores
    #: Log loss that held-out users had where the parameters were fitted.
    promised_log_loss: float
    promised_calibration_error: float
    #: The promise carried over to the later attempts: their entropy and the promised excess.
    expected_log_loss: float
    #: Share right minus share predicted, less what it was where the parameters were fitted.
    bias: float
    p_loss: float  # one-sided; small: the log loss is shown to be above what was expected
    p_bias: float  # two-sided; small: predictions are shown to be too high or too low

    @property
    def excess(self) -> float:
        """Nats per attempt above what was expected."""
        return self.scores.log_loss - self.expected_log_loss

    @property
    def p(self) -> float:
        """Of either, for both were looked at (Bonferroni)."""
        return min(1.0, 2.0 * min(self.p_loss, self.p_bias))

    def as_row(self) -> dict[str, Any]:
        """One row of a table."""
        row = {name: value for name, value in asdict(self).items() if name != "scores"}
        return row | {
            "log_loss": self.scores.log_loss,
            "calibration_error": self.scores.calibration_error,
            "auc": self.scores.auc,
            "excess": self.excess,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftVerdict:
    """One concept, judged among all that were looked at."""

    drift: ConceptDrift
    adjusted_p: float  # least false discovery rate at which it is named
    drifted: bool


def measure_drift(
    concept_id: str,
    *,
    users: NDArray[np.int64],  # (n_attempts,), code of each attempt's user
    correct: NDArray[np.int8],  # (n_attempts,)
    p_correct: NDArray[np.float64],  # (n_attempts,), NaN where not held out
    later: NDArray[np.bool_],  # (n_attempts,), after the data of the fit
) -> ConceptDrift | None:
    """Hold the later attempts against the earlier; None where no attempt is later.

    `p_correct` is of the parameters in force for later attempts, and of those fitted without
    the user for earlier ones.
    """
    known = ~np.isnan(p_correct)
    users, correct, p_correct, later = (
        values[known] for values in (users, correct, p_correct, later)
    )
    if not later.any():
        return None
    entropy = _entropy(p_correct)
    excess = attempt_losses(correct, p_correct) - entropy
    residual = correct - p_correct
    promised = score(correct[~later], p_correct[~later])
    promised_excess = float(excess[~later].mean()) if promised.n else 0.0
    promised_residual = float(residual[~later].mean()) if promised.n else 0.0
    loss_moves, bias_moves = (
        _contributions(values, users, later) for values in (excess, residual)
    )
    return ConceptDrift(
        concept_id=concept_id,
        n_attempts=int(np.count_nonzero(later)),
        n_users=int(np.unique(users[later]).size),
        scores=score(correct[later], p_correct[later]),
        promised_log_loss=promised.log_loss,
        promised_calibration_error=promised.calibration_error,
        expected_log_loss=float(entropy[later].mean()) + promised_excess,
        bias=float(residual[later].mean()) - promised_residual,
        p_loss=sign_flip_p(loss_moves),
        p_bias=min(1.0, 2.0 * min(sign_flip_p(bias_moves), sign_flip_p(-bias_moves))),
    )


def judge_drift(
    drifts: Sequence[ConceptDrift], *, false_discovery_rate: float
) -> tuple[DriftVerdict, ...]:
    """Name the concepts that drifted; at most that share of them is named by chance."""
    if not drifts:
        return ()
    return tuple(
        DriftVerdict(drift=drift, adjusted_p=q, drifted=q <= false_discovery_rate)
        for drift, q in zip(drifts, adjusted_p([one.p for one in drifts]), strict=True)
    )


def _contributions(
    values: NDArray[np.float64], users: NDArray[np.int64], later: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What each user adds to (mean of the later) - (mean of the earlier), (n_users,).

    Values are taken from their common mean, which cancels in the sum and centres each user
    where nothing changed. A user with attempts on both sides is one contribution.
    """
    n_later = int(np.count_nonzero(later))
    n_earlier = later.size - n_later
    centre = float(values.mean()) if n_earlier else 0.0  # without a promise: the model's own
    weights = np.where(later, 1.0 / n_later, -1.0 / max(n_earlier, 1))
    _codes, rank = np.unique(users, return_inverse=True)
    return np.bincount(rank, weights=(values - centre) * weights).astype(np.float64)


def _entropy(p_correct: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log loss that a prediction expects of itself, in nats."""
    p = np.clip(p_correct, EPSILON, 1.0 - EPSILON)
    entropy: NDArray[np.float64] = -(p * np.log(p) + (1.0 - p) * np.log1p(-p))
    return entropy

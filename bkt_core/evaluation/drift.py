"""Test whether parameters in force still predict as well as in cross-validation.

Log losses of different attempts cannot be compared directly: the loss depends on how certain
the predictions are, and that changes with the opportunities. An attempt predicted with p has
the expected loss H(p), the entropy. The excess of the loss over the entropy (and the residual,
outcome minus p) is therefore compared between the attempts that the parameters were fitted on,
predicted out of fold, and the later attempts.
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
    """Scores of the later attempts of one concept, and what cross-validation promised."""

    concept_id: str
    n_attempts: int  # later than the data of the fit
    n_users: int
    scores: Scores
    #: Out-of-fold log loss on the data that the parameters were fitted on.
    promised_log_loss: float
    promised_calibration_error: float
    #: Log loss promised for the later attempts: their entropy plus the excess on the fitted
    #: data.
    expected_log_loss: float
    #: Share correct minus share predicted, minus the same difference on the fitted data.
    bias: float
    p_loss: float  # one-sided; small: the log loss is shown to be above what was expected
    p_bias: float  # two-sided; small: predictions are shown to be too high or too low

    @property
    def excess(self) -> float:
        """Log loss above the expected one, in nats per attempt."""
        return self.scores.log_loss - self.expected_log_loss

    @property
    def p(self) -> float:
        """The p-value of either test, with Bonferroni's correction for two tests."""
        return min(1.0, 2.0 * min(self.p_loss, self.p_bias))

    def as_row(self) -> dict[str, Any]:
        """Return the row of the drift table, without the verdict."""
        row = {name: value for name, value in asdict(self).items() if name != "scores"}
        return row | {
            "log_loss": self.scores.log_loss,
            "calibration_error": self.scores.calibration_error,
            "auc": self.scores.auc,
            "excess": self.excess,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftVerdict:
    """The verdict on one concept, adjusted for the number of concepts tested."""

    drift: ConceptDrift
    adjusted_p: float  # lowest false discovery rate at which the concept is reported
    drifted: bool


def measure_drift(
    concept_id: str,
    *,
    users: NDArray[np.int64],  # (n_attempts,), code of each attempt's user
    correct: NDArray[np.int8],  # (n_attempts,)
    p_correct: NDArray[np.float64],  # (n_attempts,), NaN where not held out
    later: NDArray[np.bool_],  # (n_attempts,), after the data of the fit
) -> ConceptDrift | None:
    """Compare later attempts with the fitted ones; None if there is no later attempt.

    `p_correct` comes from the parameters in force for later attempts, and from the parameters
    fitted without the user for earlier ones.
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
    """Decide which concepts drifted, at the given false discovery rate."""
    if not drifts:
        return ()
    return tuple(
        DriftVerdict(drift=drift, adjusted_p=q, drifted=q <= false_discovery_rate)
        for drift, q in zip(drifts, adjusted_p([one.p for one in drifts]), strict=True)
    )


def _contributions(
    values: NDArray[np.float64], users: NDArray[np.int64], later: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the contribution of each user to mean(later) - mean(earlier), (n_users,).

    Values are centred on their common mean, which cancels in the sum and gives each user a
    contribution near 0 if nothing changed. A user with attempts on both sides has one.
    """
    n_later = int(np.count_nonzero(later))
    n_earlier = later.size - n_later
    centre = float(values.mean()) if n_earlier else 0.0  # nothing promised: the model's own
    weights = np.where(later, 1.0 / n_later, -1.0 / max(n_earlier, 1))
    _codes, rank = np.unique(users, return_inverse=True)
    return np.bincount(rank, weights=(values - centre) * weights).astype(np.float64)


def _entropy(p_correct: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected log loss of each prediction under itself, in nats."""
    p = np.clip(p_correct, EPSILON, 1.0 - EPSILON)
    entropy: NDArray[np.float64] = -(p * np.log(p) + (1.0 - p) * np.log1p(-p))
    return entropy

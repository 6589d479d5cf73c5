"""Every limit of the judgement, as `conf` fills it in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """Every limit of the judgement; `conf` fills it in."""

    #: One-sided level at which a first fit is shown to be worse than the defaults or the mean,
    #: as a false discovery rate over the first fits of one run.
    worse_level: float = 0.05
    #: Held-out users below which a first fit is not promoted: with n users no sign-flip p-value
    #: is below 2^-n, so that with fewer than five nothing could be shown worse at 5 %.
    min_users_first_promotion: int = 5
    #: False discovery rate over the challengers of fitted champions in one run.
    false_discovery_rate: float = 0.05
    #: A champion whose data ended this many days before the run's is stale ...
    stale_after_days: float = 90.0
    #: ... and gives way to what is not worse by more than this, in nats per attempt.
    stale_margin: float = 0.002
    #: Parameters that all moved by less than this are the champion's own.
    min_parameter_change: float = 1e-4
    #: Largest share of users that may cross the mastery threshold when a champion is replaced.
    max_crossing_share: float = 0.2
    #: A handful of users never holds a concept back.
    min_crossing_users: int = 10
    #: Warnings: range of a parameter over restarts, over folds, and width of its 95 % interval.
    warn_start_spread: float = 0.01
    warn_fold_spread: float = 0.2
    warn_interval_width: float = 0.3

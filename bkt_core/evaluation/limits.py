"""The limits that decide on challengers; `conf` sets them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """The limits that decide on challengers; `conf` sets them."""

    #: One-sided level at which a first fit is shown to be worse than the defaults or the mean,
    #: as a false discovery rate over the first fits of one run.
    worse_level: float = 0.05
    #: Fewest held-out users for which a first fit is promoted: with n users no sign-flip
    #: p-value is below 2^-n, so that fewer than five users cannot show a fit to be worse at 5
    #: %.
    min_users_first_promotion: int = 5
    #: False discovery rate over the challengers of fitted champions in one run.
    false_discovery_rate: float = 0.05
    #: A champion is stale if its data ended this many days before the data of the run.
    stale_after_days: float = 90.0
    #: A stale champion is replaced by a challenger that is not worse by more than this many
    #: nats per attempt.
    stale_margin: float = 0.002
    #: A challenger whose parameters all differ by less than this equals the champion.
    min_parameter_change: float = 1e-4
    #: Largest share of users that may cross the mastery threshold when a champion is replaced.
    max_crossing_share: float = 0.2
    #: Fewer crossing users than this never hold a concept back.
    min_crossing_users: int = 10
    #: Warnings: range of a parameter over restarts, over folds, and width of its 95 % interval.
    warn_start_spread: float = 0.01
    warn_fold_spread: float = 0.2
    warn_interval_width: float = 0.3

"""What is asked of v3 on a real log: its figures out of fold, and in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tests.oracles.family import trace

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.accept import Chain, Findings

ACTIVE = sa.text(
    "SELECT concept_id, p_l0, p_t, p_s, p_g, p_f FROM bkt_skill_params s "
    "JOIN algo_versions v ON v.id = s.algo_version_id "
    "WHERE is_active AND v.status = 'ACTIVE'"
)
LOG = sa.text("SELECT user_id, concept_id, correct FROM attempts ORDER BY attempted_at, id")
STATES = sa.text("SELECT user_id, concept_id, p_mastery, n_attempts FROM bkt_user_skill_state")
DEFAULTS = (0.1, 0.1, 0.1, 0.25, 0.0)
#: Most of the fitted concepts in which twenty right answers may miss the threshold.
UNREACHABLE = 0.02


@dataclass(frozen=True)
class Bars:
    """The figures that v3 must reach on one log; None: not asked."""

    auc: float
    rmse: float | None
    log_loss: float
    within_auc: float | None
    test: Path | None = None  # with AUC and RMSE of .824 and .3890


def accept_forgetting(chain: Chain, found: Findings, label: str, bars: Bars) -> None:
    """Fit v3 as a candidate, compare it, put it in force, and check every state."""
    chain.env["BKT_FIT__CANDIDATES"] = '["v3"]'
    chain.bkt("retrain")
    left = {
        version: len(chain.bkt("params", "--algo", version)["params"])
        for version in ("v1", "v3")
    }
    found.note(
        f"{label}: concepts with a promoted fit, v3 (v1: {left['v1']})",
        left["v3"],
        f">= {left['v1']}",
        holds=left["v3"] >= left["v1"],
    )
    _out_of_fold(chain.bkt("algo", "compare", "v1", "v3"), found, label, bars)
    chain.bkt("algo", "activate", "v3", "--approve")
    states, wrong = wrong_states(chain.url)
    found.note(f"{label}: v3 in force, states off, of {states}", wrong, "= 0", holds=not wrong)
    if bars.test is not None:
        scores = chain.bkt("evaluate", str(bars.test))
        _at_least(found, f"{label}: v3, AUC on the test half", scores["auc"], 0.824)
        _at_most(found, f"{label}: v3, RMSE on the test half", scores["rmse"], 0.389)
    again = chain.bkt("retrain")
    found.note(
        f"{label}: a second run under v3",
        again["concepts"]["promoted"],
        "= 0 promoted",
        holds=again["concepts"]["promoted"] == 0,
    )


def _out_of_fold(compared: dict[str, Any], found: Findings, label: str, bars: Bars) -> None:
    scores = compared["scores"]
    _at_least(found, f"{label}: v3, out-of-fold AUC", scores["auc"]["b"], bars.auc)
    _at_most(found, f"{label}: v3, log loss", scores["log_loss"]["b"], bars.log_loss)
    if bars.rmse is not None:
        _at_most(found, f"{label}: v3, RMSE", scores["rmse"]["b"], bars.rmse)
    if bars.within_auc is not None:
        within = scores["within_auc"]["b"]
        _at_least(found, f"{label}: v3, AUC within concepts", within, bars.within_auc)
    z = scores["log_loss"]["change"] / scores["log_loss"]["standard_error"]
    _at_most(found, f"{label}: v3 against v1, log loss by user, z", z, -5.0)
    rows = [one for one in compared["concepts"] if one["source_b"] == "fitted"]
    missed = sum(not passes_the_threshold(one) for one in rows)
    share = missed / len(rows)
    _at_most(found, f"{label}: v3, share of {len(rows)} unreachable", share, UNREACHABLE)


def passes_the_threshold(row: dict[str, Any], threshold: float = 0.95) -> bool:
    """Whether twenty right answers in a row do."""
    names = ("p_L0", "p_T", "p_S", "p_G", "p_F")
    return trace([1] * 20, tuple(row[f"{name}_b"] for name in names))[-1][0] >= threshold


def wrong_states(url: str) -> tuple[int, int]:
    """How many states exist, and how many differ from the replay of their attempts."""
    engine = sa.create_engine(url)
    outcomes: dict[tuple[str, str], list[int]] = {}
    with engine.connect() as database:
        active = {row[0]: tuple(row[1:]) for row in database.execute(ACTIVE)}
        for user, concept, correct in database.execute(LOG):
            outcomes.setdefault((user, concept), []).append(correct)
        states = {(row[0], row[1]): (row[2], row[3]) for row in database.execute(STATES)}
    engine.dispose()
    wrong = len(outcomes.keys() ^ states.keys())
    for key, history in outcomes.items():
        known = trace(history, active.get(key[1], DEFAULTS))[-1][0]
        wrong += states.get(key) != (known, len(history))
    return len(states), wrong


def _at_least(found: Findings, figure: str, measured: float, limit: float) -> None:
    found.note(figure, f"{measured:.4f}", f">= {limit:g}", holds=measured >= limit)


def _at_most(found: Findings, figure: str, measured: float, limit: float) -> None:
    found.note(figure, f"{measured:.4f}", f"<= {limit:g}", holds=measured <= limit)

"""What is true about Bayesian Knowledge Tracing: the public names, nothing else."""

from __future__ import annotations

from bkt_core.model import (
    RuleFailure,
    RuleReport,
    Update,
    Updates,
    apply_learning_transition,
    check_degeneracy,
    posterior_given_obs,
    predict_correct,
    update_mastery,
    validate_bkt_params,
)
from bkt_core.params import AlgoParams, BktParams, Bounds
from bkt_core.replay import predict, replay, trace
from bkt_core.sequences import AttemptSequences
from bkt_core.simulation import draw_lengths, draw_params, simulate

__all__ = [
    "AlgoParams",
    "AttemptSequences",
    "BktParams",
    "Bounds",
    "RuleFailure",
    "RuleReport",
    "Update",
    "Updates",
    "apply_learning_transition",
    "check_degeneracy",
    "draw_lengths",
    "draw_params",
    "posterior_given_obs",
    "predict",
    "predict_correct",
    "replay",
    "simulate",
    "trace",
    "update_mastery",
    "validate_bkt_params",
]

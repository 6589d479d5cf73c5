"""Decide whether challengers replace champions, over all concepts of a run.

`judge_concept` collects the evidence on one concept; `decide` needs all concepts of the run,
because the number of concepts tested determines how often a challenger looks better by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.evaluation.checks import Check, Decision, Severity
from bkt_core.evaluation.comparison import Comparison, Rival, adjusted_p, compare
from bkt_core.evaluation.concept_fit import ConceptFit, held_out_predictions
from bkt_core.evaluation.cross_validation import fold_of, predict_by_fold
from bkt_core.evaluation.gates import fit_checks, warn_checks
from bkt_core.evaluation.limits import GateLimits
from bkt_core.judgement import verdict_checks
from bkt_core.judgement.evidence import Champion, ConceptEvidence, Verdict
from bkt_core.judgement.impact import impact
from bkt_core.params import AlgoParams
from bkt_core.replay import predict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bkt_core.evaluation.concept_fit import Evidence
    from bkt_core.sequences import AttemptSequences


def judge_concept(
    fit: ConceptFit,
    sequences: AttemptSequences,
    user_hashes: NDArray[np.uint64],  # (n_users,)
    *,
    champion: Champion | None,
    algo: AlgoParams,
    limits: GateLimits,
) -> ConceptEvidence:
    """Check one fit, compare it on held-out users, and count the users it would affect."""
    if fit.evidence is None:
        return ConceptEvidence(
            fit=fit, champion=champion, against_champion=None, impact=None, report=fit.report
        )
    against = None
    if champion is not None:
        against = _against_champion(fit, sequences, user_hashes, champion, limits)
    moved = impact(
        sequences,
        before=algo.defaults if champion is None else champion.params,
        after=fit.evidence.final.params,
        threshold=algo.mastery_threshold,
    )
    checks = (
        *fit_checks(fit.evidence.final, algo),
        *warn_checks(fit.evidence.final, fit.evidence.fold_fits, limits),
        *_simple_rival_warnings(fit.evidence, champion, limits),
    )
    return ConceptEvidence(
        fit=fit,
        champion=champion,
        against_champion=against,
        impact=moved,
        report=fit.report.with_checks(*checks),
    )


def keep_untested(
    fit: ConceptFit, champion: Champion | None, *, name: str, sentence: str
) -> ConceptEvidence:
    """Build the evidence of a concept that keeps its parameters without a test.

    An example is a concept whose attempts have not changed. `name` and `sentence` are the
    check.
    """
    reason = Check(name, False, None, None, Severity.COMPARE, sentence)
    return ConceptEvidence(
        fit=fit,
        champion=champion,
        against_champion=None,
        impact=None,
        report=fit.report.with_checks(reason),
    )


def decide(
    evidences: Sequence[ConceptEvidence],
    limits: GateLimits,
    *,
    approved: Collection[str] = frozenset(),
    pinned: Collection[str] = frozenset(),
) -> list[Verdict]:
    """Return the verdict on each concept of a run, in the order of `evidences`.

    For `approved` concepts the number of affected users is not limited; `pinned` concepts keep
    their parameters. P-values are adjusted over all concepts with the same kind of test.
    """
    usable = [
        index
        for index, one in enumerate(evidences)
        if one.fit.evidence is not None and one.report.decision is Decision.PROMOTED
    ]
    first = [index for index in usable if evidences[index].champion is None]
    tested = [
        index
        for index in usable
        if evidences[index].against_champion is not None
        and evidences[index].concept_id not in pinned
    ]
    checks: list[list[Check]] = [[] for _ in evidences]
    for name in ("against_defaults", "against_mean"):
        comparisons = [getattr(evidences[index].fit.evidence, name) for index in first]
        for index, against, adjusted in zip(
            first, comparisons, adjusted_p([c.p_not_worse for c in comparisons]), strict=True
        ):
            checks[index].append(verdict_checks.not_shown_worse(against, adjusted, limits))
    for index in first:
        evidence = evidences[index].fit.evidence
        if evidence is not None:
            against = evidence.against_defaults
            checks[index].append(verdict_checks.users_to_compare(against, limits))
    p_values = [verdict_checks.promotion_p(evidences[index], limits) for index in tested]
    adjusted_of = dict(zip(tested, adjusted_p(p_values), strict=True))
    return [
        _verdict(one, tuple(checks[index]), adjusted_of.get(index), limits, approved, pinned)
        for index, one in enumerate(evidences)
    ]


def _verdict(
    one: ConceptEvidence,
    against_simple: tuple[Check, ...],
    adjusted: float | None,
    limits: GateLimits,
    approved: Collection[str],
    pinned: Collection[str],
) -> Verdict:
    checks = list(against_simple)
    if one.champion is not None and adjusted is not None:
        checks.append(verdict_checks.parameters_moved(one, limits))
        checks.append(verdict_checks.beats_champion(one, adjusted, limits))
    if one.impact is not None:
        checks.append(
            verdict_checks.moves_few_users(one, limits, is_approved=one.concept_id in approved)
        )
    if one.concept_id in pinned:
        checks.append(verdict_checks.PINNED)
    return Verdict(evidence=one, report=one.report.with_checks(*checks), adjusted_p=adjusted)


def _against_champion(
    fit: ConceptFit,
    sequences: AttemptSequences,
    user_hashes: NDArray[np.uint64],
    champion: Champion,
    limits: GateLimits,
) -> Comparison:
    return compare(
        Rival.CHAMPION,
        sequences,
        challenger=held_out_predictions(fit, sequences, user_hashes),
        rival_predictions=_champion_predictions(champion, sequences, user_hashes),
        margin=limits.stale_margin,
        rival_in_sample=champion.scored_in_sample,
    )


def _champion_predictions(
    champion: Champion, sequences: AttemptSequences, user_hashes: NDArray[np.uint64]
) -> NDArray[np.float64]:
    """Predict each user with the champion's parameters fitted without the user's fold.

    A fold without parameters had no users when the champion was fitted, so that its users are
    new to the champion.
    """
    if champion.fold_seed is None or not champion.fold_params:
        return predict(sequences, champion.params)
    folds = fold_of(user_hashes, seed=champion.fold_seed, n_folds=len(champion.fold_params))
    params = [own or champion.params for own in champion.fold_params]
    return predict_by_fold(sequences, folds, params)


def _simple_rival_warnings(
    evidence: Evidence, champion: Champion | None, limits: GateLimits
) -> tuple[Check, ...]:
    """Warn if a challenger of a champion is shown to be worse than the defaults or the mean."""
    if champion is None:
        return ()
    return tuple(
        verdict_checks.not_shown_worse(
            against, against.p_not_worse, limits, severity=Severity.WARN
        )
        for against in (evidence.against_defaults, evidence.against_mean)
    )

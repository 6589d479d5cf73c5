"""Flow: the winners of a run into `bkt_skill_params`, one short transaction per concept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow
from sqlalchemy.exc import DBAPIError

from bkt_settings.pipeline import Settings
from datasets.store.params.events import EventDecision, record_decision
from datasets.store.params.skill_params import Switch, switch
from flows.evidence.decisions import read_decisions
from flows.lifecycle.stages import Promoted
from flows.runs.database import open_database
from flows.runs.plan import RunPlan
from flows.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from datasets.store.params.skill_params import Challenger, SwitchOutcome
    from flows.evidence.decisions import ConceptDecision

#: A switch whose outcome is unknown is looked up and tried again this often.
MAX_TRIES = 3


@flow(name="promote-params", flow_run_name="promote {plan.label}")
def promote_params(settings: Settings, plan: RunPlan, check: Callable[[], None]) -> Promoted:
    """Switch each winner, and write down every decision that rests on a test.

    `check` raises where the run must not go on writing: `RunLock.check`.
    """
    decisions = read_decisions(plan.run_dir / "decisions.json")
    winners = [decided for decided in decisions if decided.challenger is not None]
    outcomes: dict[str, Switch] = {}
    with open_database(settings) as engine:
        with progress("promote", len(winners)) as advance:
            for decided in winners:
                outcomes[decided.concept_id] = promote(engine, plan, decided, check).switch
                advance(1)
        check()
        record_others(
            engine, plan, [decided for decided in decisions if decided.challenger is None]
        )
    done = (Switch.PROMOTED, Switch.ALREADY_DONE)
    return Promoted(
        promoted=tuple(concept for concept, came in outcomes.items() if came in done),
        kept_after_all={
            concept: came.value for concept, came in outcomes.items() if came not in done
        },
    )


def promote(
    engine: Engine, plan: RunPlan, decided: ConceptDecision, check: Callable[[], None]
) -> SwitchOutcome:
    """One switch; after a connection is cut at its commit, a look and never a guess."""
    challenger: Challenger | None = decided.challenger
    if challenger is None:
        raise ValueError(f"{decided.concept_id!r} has no challenger to promote.")
    tries = 0
    while True:
        tries += 1
        check()
        try:
            with engine.begin() as conn:
                return switch(
                    conn,
                    run_id=plan.run_id,
                    concept_id=decided.concept_id,
                    algo_version_id=plan.algo_version_id,
                    challenger=challenger,
                    expected_incumbent=decided.expected_param_id,
                    at=datetime.now(UTC),
                    reasons=decided.reasons,
                    actor=plan.kind,
                )
        except DBAPIError as error:
            # `switch` looks (run, concept) up first: what was committed is not done twice.
            if not error.connection_invalidated or tries == MAX_TRIES:
                raise


def record_others(engine: Engine, plan: RunPlan, decisions: Sequence[ConceptDecision]) -> None:
    """Append the decisions that change nothing; concepts that were not tested have none."""
    with engine.begin() as conn:
        for decided in decisions:
            if decided.untested:
                continue
            record_decision(
                conn,
                run_id=plan.run_id,
                concept_id=decided.concept_id,
                algo_version_id=plan.algo_version_id,
                decision=EventDecision(decided.decision.value),
                from_param_id=decided.expected_param_id,
                to_param_id=decided.expected_param_id,
                reasons=decided.reasons,
                actor=plan.kind,
                at=datetime.now(UTC),
            )

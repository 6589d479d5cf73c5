"""Flow: the winners of a run into `bkt_skill_params`, one short transaction per concept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow
from sqlalchemy.exc import DBAPIError

from bkt_settings.pipeline import Settings
from datasets.store.params.events import Decision as EventDecision
from datasets.store.params.events import record_decision
from datasets.store.params.skill_params import Switch, switch
from flows.evidence.decisions import read_ballot
from flows.lifecycle.stages import Promoted
from flows.runs.database import open_database
from flows.runs.plan import RunPlan
from flows.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from datasets.store.params.skill_params import Challenger, SwitchOutcome
    from flows.evidence.decisions import Vote

#: A switch whose outcome is unknown is looked up and tried again this often.
MAX_TRIES = 3


@flow(name="promote-params", flow_run_name="promote {plan.label}")
def promote_params(settings: Settings, plan: RunPlan, check: Callable[[], None]) -> Promoted:
    """Switch each winner, and write down every decision that rests on a test.

    `check` raises where the run must not go on writing: `RunLock.check`.
    """
    votes = read_ballot(plan.run_dir / "ballot.json")
    winners = [vote for vote in votes if vote.challenger is not None]
    outcomes: dict[str, Switch] = {}
    with open_database(settings) as engine:
        with progress("promote", len(winners)) as advance:
            for vote in winners:
                outcomes[vote.concept_id] = promote(engine, plan, vote, check).switch
                advance(1)
        check()
        record_others(engine, plan, [vote for vote in votes if vote.challenger is None])
    done = (Switch.PROMOTED, Switch.ALREADY_DONE)
    return Promoted(
        promoted=tuple(concept for concept, came in outcomes.items() if came in done),
        kept_after_all={
            concept: came.value for concept, came in outcomes.items() if came not in done
        },
    )


def promote(
    engine: Engine, plan: RunPlan, vote: Vote, check: Callable[[], None]
) -> SwitchOutcome:
    """One switch; after a connection is cut at its commit, a look and never a guess."""
    challenger: Challenger | None = vote.challenger
    if challenger is None:
        raise ValueError(f"{vote.concept_id!r} has no challenger to promote.")
    tries = 0
    while True:
        tries += 1
        check()
        try:
            with engine.begin() as conn:
                return switch(
                    conn,
                    run_id=plan.run_id,
                    concept_id=vote.concept_id,
                    algo_version_id=plan.algo_version_id,
                    challenger=challenger,
                    expected_incumbent=vote.expected_param_id,
                    at=datetime.now(UTC),
                    reasons=vote.reasons,
                    actor=plan.kind,
                )
        except DBAPIError as error:
            # `switch` looks (run, concept) up first: what was committed is not done twice.
            if not error.connection_invalidated or tries == MAX_TRIES:
                raise


def record_others(engine: Engine, plan: RunPlan, votes: Sequence[Vote]) -> None:
    """Append the decisions that change nothing; concepts that were not tested have none."""
    with engine.begin() as conn:
        for vote in votes:
            if vote.untested:
                continue
            record_decision(
                conn,
                run_id=plan.run_id,
                concept_id=vote.concept_id,
                algo_version_id=plan.algo_version_id,
                decision=EventDecision(vote.decision.value),
                from_param_id=vote.expected_param_id,
                to_param_id=vote.expected_param_id,
                reasons=vote.reasons,
                actor=plan.kind,
                at=datetime.now(UTC),
            )

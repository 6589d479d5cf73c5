"""Flow: put the winners of a run in force, in short transactions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from prefect import flow
from sqlalchemy.exc import DBAPIError

from bkt_settings.pipeline import Settings
from datasets.store.params.events import EventDecision, NewEvent, record_decisions
from datasets.store.params.switching import Switch, SwitchRequest, switch, switch_many
from flows.evidence.decisions import DECISIONS, read_decisions
from flows.lifecycle.stages import Promoted
from flows.runs.database import open_database
from flows.runs.plan import RunPlan
from flows.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from datasets.store.params.switching import SwitchOutcome
    from flows.evidence.decisions import ConceptDecision

#: How often a switch with an unknown outcome is checked and tried again.
MAX_TRIES = 3
#: Most concepts per transaction, because attempts at all of them wait until it ends.
WINNERS_AT_ONCE = 50

T = TypeVar("T")


@flow(name="promote-params", flow_run_name="promote {plan.label}")
def promote_params(settings: Settings, plan: RunPlan, check: Callable[[], None]) -> Promoted:
    """Switch each winner, and record every decision that is based on a test.

    `check` raises if the run must stop writing, as `RunLock.check` does.
    """
    decisions = read_decisions(plan.run_dir / DECISIONS)
    winners = [decided for decided in decisions if decided.challenger is not None]
    outcomes: dict[str, Switch] = {}
    with open_database(settings) as engine:
        with progress("promote", len(winners)) as advance:
            for first in range(0, len(winners), WINNERS_AT_ONCE):
                batch = winners[first : first + WINNERS_AT_ONCE]
                outcomes |= promote_batch(engine, plan, batch, check)
                advance(len(batch))
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


def promote_batch(
    engine: Engine,
    plan: RunPlan,
    winners: Sequence[ConceptDecision],
    check: Callable[[], None],
) -> dict[str, Switch]:
    """Switch winners in one transaction; then switch, one by one, those whose lock was held."""
    requests = [_request(decided) for decided in winners]

    def all_free() -> dict[str, SwitchOutcome]:
        with engine.begin() as conn:
            return switch_many(
                conn,
                requests,
                run_id=plan.run_id,
                algo_version_id=plan.algo_version_id,
                at=datetime.now(UTC),
                actor=plan.kind,
            )

    done = _tried_again(all_free, check)
    for request in requests:
        if request.concept_id not in done:
            done[request.concept_id] = promote(engine, plan, request, check)
    return {concept: outcome.switch for concept, outcome in done.items()}


def promote(
    engine: Engine, plan: RunPlan, request: SwitchRequest, check: Callable[[], None]
) -> SwitchOutcome:
    """Switch one concept, waiting for its lock."""

    def when_free() -> SwitchOutcome:
        with engine.begin() as conn:
            return switch(
                conn,
                run_id=plan.run_id,
                concept_id=request.concept_id,
                algo_version_id=plan.algo_version_id,
                challenger=request.challenger,
                expected_incumbent=request.expected_incumbent,
                at=datetime.now(UTC),
                reasons=request.reasons,
                actor=plan.kind,
            )

    return _tried_again(when_free, check)


def _tried_again(transaction: Callable[[], T], check: Callable[[], None]) -> T:
    """Run the transaction again if its connection was lost, so that its outcome is unknown.

    A switch first looks up (run, concept), so that a committed switch is not done twice.
    """
    tries = 0
    while True:
        tries += 1
        check()
        try:
            return transaction()
        except DBAPIError as error:
            if not error.connection_invalidated or tries == MAX_TRIES:
                raise


def _request(decided: ConceptDecision) -> SwitchRequest:
    if decided.challenger is None:
        raise ValueError(f"{decided.concept_id!r} has no challenger to promote.")
    return SwitchRequest(
        concept_id=decided.concept_id,
        challenger=decided.challenger,
        expected_incumbent=decided.expected_param_id,
        reasons=decided.reasons,
    )


def record_others(engine: Engine, plan: RunPlan, decisions: Sequence[ConceptDecision]) -> None:
    """Append the decisions that change nothing; concepts without a test get none."""
    at = datetime.now(UTC)
    events = [
        NewEvent(
            run_id=plan.run_id,
            concept_id=decided.concept_id,
            algo_version_id=plan.algo_version_id,
            decision=EventDecision(decided.decision.value),
            from_param_id=decided.expected_param_id,
            to_param_id=decided.expected_param_id,
            reasons=decided.reasons,
            actor=plan.kind,
            at=at,
        )
        for decided in decisions
        if not decided.untested
    ]
    with engine.begin() as conn:
        record_decisions(conn, events)

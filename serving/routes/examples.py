"""Examples of every route for the OpenAPI document; a test sends the requests and compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serving.schemas import EXAMPLE_ATTEMPT, EXAMPLE_USER

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What one route is asked, and what it answers."""

    answer: Any
    body: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


_PARAMS = {"p_L0": 0.3, "p_T": 0.15, "p_S": 0.08, "p_G": 0.22}
_FITTED_AT = "2026-03-01T02:00:00Z"
_UPDATE = {
    "concept_id": "fractions-3",
    "p_mastery_prior": 0.3,
    "p_mastery_new": 0.6955813953488372,
    "mastery_change": 0.39558139534883724,
    "n_attempts": 1,
    "params_used": _PARAMS,
    "bkt_metadata": {
        "p_correct_predicted": 0.43000000000000005,
        "observation": 1,
        "algo_version": "v1",
        "param_id": 1,
        "attempted_at": "2026-01-31T12:00:00Z",
    },
    "user_id": "ann",
    "question_id": "fractions-3-q7",
    "is_duplicate": False,
    "also_updated": [],
}
_RUN = {
    "run_id": "run-1",
    "kind": "retrain",
    "status": "done",
    "started_at": _FITTED_AT,
    "finished_at": _FITTED_AT,
}


def _launched(number: int, command: str) -> dict[str, Any]:
    return {
        "launch_id": f"launch-{number}",
        "command": command,
        "via": "process",
        "status": "running",
        "started_at": "2026-03-02T12:00:00Z",
        "exit_code": None,
        "run_id": None,
        "detail": None,
    }


#: By operation, in an order in which they can be sent to a service with one promoted concept.
EXAMPLES: dict[str, Example] = {
    "health": Example(answer={"status": "ok"}),
    "readiness": Example(answer={"status": "ready"}),
    "submit_attempt": Example(body=EXAMPLE_USER | EXAMPLE_ATTEMPT, answer=_UPDATE),
    "submit_batch": Example(
        body=EXAMPLE_USER | {"attempts": [EXAMPLE_ATTEMPT]},
        answer={"user_id": "ann", "updates": [_UPDATE | {"is_duplicate": True}]},
    ),
    "read_mastery": Example(
        parameters=EXAMPLE_USER,
        answer={
            "user_id": "ann",
            "as_of": None,
            "mastery_threshold": 0.95,
            "states": [
                {
                    "concept_id": "fractions-3",
                    "p_mastery": 0.6955813953488372,
                    "n_attempts": 1,
                    "is_mastered": False,
                    "last_attempt_at": "2026-01-31T12:00:00Z",
                    "updated_at": "2026-03-02T12:00:00Z",
                }
            ],
            "next_cursor": None,
        },
    ),
    "predict": Example(
        parameters={"user_id": "ann", "question_id": "fractions-3-q7"}
        | {"concept_id": "fractions-3"},
        answer={
            "user_id": "ann",
            "question_id": "fractions-3-q7",
            "predictions": [
                {
                    "concept_id": "fractions-3",
                    "p_correct": 0.7069069767441861,
                    "p_mastery": 0.6955813953488372,
                    "n_attempts": 1,
                    "question_odds": 1.0,
                    "algo_version": "v1",
                    "param_id": 1,
                }
            ],
        },
    ),
    "read_params": Example(
        parameters={"concept_id": "fractions-3"},
        answer=_PARAMS
        | {
            "concept_id": "fractions-3",
            "level": "concept",
            "algo_version": "v1",
            "param_id": 1,
            "run_id": "run-1",
            "fitted_at": _FITTED_AT,
        },
    ),
    "read_params_history": Example(
        parameters={"concept_id": "fractions-3"},
        answer={
            "concept_id": "fractions-3",
            "events": [
                {
                    "event_id": 1,
                    "decision": "promoted",
                    "created_at": _FITTED_AT,
                    "actor": "retrain",
                    "run_id": "run-1",
                    "from_param_id": None,
                    "to_param_id": 1,
                    "to_params": _PARAMS,
                    "reasons": [],
                }
            ],
            "next_cursor": None,
        },
    ),
    "start_retrain": Example(
        body={"concept_ids": ["fractions-3"]}, answer=_launched(0, "retrain")
    ),
    "start_recompute": Example(body={"user_id": "ann"}, answer=_launched(1, "recompute")),
    "start_rollback": Example(
        body={"concept_id": "fractions-3", "to": "default"}, answer=_launched(2, "rollback")
    ),
    "start_activation": Example(body={"version": "v2"}, answer=_launched(3, "activate")),
    "follow_launch": Example(
        parameters={"launch_id": "launch-0"}, answer=_launched(0, "retrain")
    ),
    "list_runs": Example(parameters={"limit": 1}, answer={"runs": [_RUN], "next_cursor": None}),
    "follow_run": Example(parameters={"run_id": "run-1"}, answer=_RUN | {"manifest": {}}),
}


def add_examples(operation: dict[str, Any]) -> None:
    """Put the example of one operation into its part of the document."""
    example = EXAMPLES.get(operation["operationId"])
    if example is None:
        return
    if example.body is not None:
        operation["requestBody"]["content"][JSON]["example"] = example.body
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in example.parameters:
            parameter["example"] = example.parameters[parameter["name"]]
    (answer,) = (a for status, a in operation["responses"].items() if status < "300")
    answer["content"][JSON]["example"] = example.answer

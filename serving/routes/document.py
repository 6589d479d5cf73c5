"""The OpenAPI document of FastAPI, completed with roles and problem details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from serving.access import LOCAL, PUBLIC, access_table
from serving.problems import MEDIA_TYPE, Problem
from serving.routes.examples import add_examples

if TYPE_CHECKING:
    from fastapi import FastAPI

DESCRIPTION = (
    "Mastery of users at concepts, updated attempt by attempt by Bayesian Knowledge Tracing. "
    "Times are UTC with their offset; ids are opaque text. Every error is a problem detail "
    "(RFC 9457). An attempt is acknowledged only when it is stored; after a timeout, retry it "
    "with the same idempotency_key."
)
_REF = "#/components/schemas/{model}"
#: Statuses that any route can return, and those of routes that need a token.
_ALWAYS = {"500": "A defect of the service.", "503": "The database is unavailable; retry."}
_GUARDED = {
    "401": "The token is missing or not accepted.",
    "403": "The token's role or user has no access.",
}
_WITH_INPUT = {"422": "The request does not conform to this document."}
_WITH_BODY = {
    "400": "The body is not JSON.",
    "413": "The body or the batch is too large.",
    "415": "The content type of the body is not JSON.",
}
_OF_OPERATION = {
    "submit_attempt": {"404", "409", "410"},
    "submit_batch": {"404", "409", "410"},
    "read_mastery": {"404"},
    "predict": {"404"},
    "read_params": {"404"},
    "read_params_history": {"404"},
    "follow_launch": {"404", "502"},
    "follow_run": {"404"},
    "start_recompute": {"429", "502"},
    "start_retrain": {"429", "502"},
    "start_rollback": {"429", "502"},
    "start_activation": {"429", "502"},
    "issue_development_token": {"403"},
}
_SPECIAL = {
    "403": "The request does not come from this machine.",
    "404": "There is nothing with that id.",
    "409": "The idempotency key belongs to another attempt.",
    "410": "The user was erased.",
    "429": "Too many commands are running.",
    "502": "The Prefect server refused the request.",
}


def document_of(app: FastAPI, *, learners_submit: bool) -> dict[str, Any]:
    """Return the document, which is created once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=DESCRIPTION,
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template=_REF)
    schemas |= problem.pop("$defs") | {"Problem": problem}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    table = access_table(learners_submit=learners_submit)
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete(operation, table)
    app.openapi_schema = document
    return document


def _complete(operation: dict[str, Any], table: dict[str, Any]) -> None:
    name = operation["operationId"]
    add_examples(operation)
    operation["summary"] = operation.pop("description").rstrip(".")
    statuses = dict(_ALWAYS)
    if name not in PUBLIC | LOCAL:
        operation["security"] = [{"bearer": []}]
        operation["x-access"] = {str(role): str(reach) for role, reach in table[name].items()}
        statuses |= _GUARDED
    if "requestBody" in operation:
        statuses |= _WITH_BODY
    if "requestBody" in operation or "parameters" in operation:
        statuses |= _WITH_INPUT
    statuses |= {status: _SPECIAL[status] for status in _OF_OPERATION.get(name, ())}
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    answers = operation["responses"]
    for answer in answers.values():
        answer["description"] = "As asked."
    for status, description in sorted(statuses.items()):
        answers[status] = {"description": description, "content": content}

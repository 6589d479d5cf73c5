"""Requests made from the OpenAPI document, right and wrong ones, in every role: never a 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode

from datasets.store.connections.engines import make_engine
from serving.access import ACCESS, PUBLIC, Reach
from serving.tokens import Role
from tests.datasets.store.writing import promote
from tests.serving.calling import attempt, bearer, new_api
from tests.serving.running import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case

EXAMPLES = 25
ROLES = [*Role, None]
OPERATIONS = sorted(set(ACCESS) | (PUBLIC - {"openapi_document", "reference"}))
#: A right request is answered as the document says, but not always with success: a run may not
#: exist, a moment may lie in the future.
BEYOND_THE_DOCUMENT = {"positive_data_acceptance"}


@pytest.fixture(scope="module")
def live(fresh_sqlite, tmp_path_factory) -> Iterator[tuple[str, schemathesis.BaseSchema]]:
    """The address of a service with some data, and its document."""
    path = tmp_path_factory.mktemp("live") / "bkt.db"
    path.write_bytes(fresh_sqlite.read_bytes())
    engine = make_engine(f"sqlite:///{path}")
    promote(engine, "run-1", "fractions")
    engine.dispose()
    api = new_api(f"sqlite:///{path}")
    with listening(api.app) as address:
        yield address, schemathesis.openapi.from_dict(api.app.openapi())


def operation_of(document: schemathesis.BaseSchema, name: str) -> schemathesis.APIOperation:
    """The operation of that id."""
    found = (result.ok() for result in document.get_all_operations())
    return next(one for one in found if one.definition.raw["operationId"] == name)


def about_the_caller(case: Case) -> None:
    """Let a learner ask about themselves, so that not all is answered 403."""
    for part in (case.body, case.query):
        if isinstance(part, dict) and "user_id" in part:
            part["user_id"] = "ann"


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_route_in_every_role_keeps_to_the_document(live, name, role, mode):
    address, document = live
    operation = operation_of(document, name)
    if mode is GenerationMode.NEGATIVE and not has_input(operation):
        return  # nothing about such a request can be wrong
    checks = [
        check
        for check in schemathesis.checks.CHECKS.get_all()
        if check.__name__ not in BEYOND_THE_DOCUMENT
    ]
    headers = bearer(role, sub="ann") if role else {}
    own = role and ACCESS.get(name, {}).get(role) is Reach.OWN

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def keeps(case: Case) -> None:
        if own:
            about_the_caller(case)
        answer = case.call(base_url=address, headers=headers)
        assert answer.status_code < 500, answer.text
        if not (own and mode is GenerationMode.NEGATIVE):
            case.validate_response(answer, checks=checks, headers=headers)

    keeps()


def has_input(operation: schemathesis.APIOperation) -> bool:
    """Whether a request carries anything but its path."""
    raw = operation.definition.raw
    return "requestBody" in raw or "parameters" in raw


def test_the_walk_reaches_what_is_behind_the_door(live):
    """Otherwise "no 5xx" would say little: a right request of each kind succeeds."""
    import httpx

    address, _ = live
    with httpx.Client(base_url=address) as http:
        sent = http.post(
            "/v1/learning/bkt/attempts", json=attempt("k"), headers=bearer("learner", "ann")
        )
        assert sent.status_code == 200
        assert sent.json()["bkt_metadata"]["param_id"] is not None

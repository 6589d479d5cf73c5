"""Clients: every example is what the service answers, one that is generated, one of a page."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from datasets.store.connections.engines import make_engine
from datasets.store.runs.runs import RunStatus, finish_run
from serving.routes.examples import EXAMPLES
from tests.datasets.store.writing import promote
from tests.flows.support.pages import blocks_of
from tests.moments import STARTED
from tests.serving.calling import bearer, new_api, token
from tests.serving.running import listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

PAGE = Path(__file__).resolve().parents[3] / "docs" / "client.md"
GENERATOR = Path(sys.executable).with_name("openapi-python-client")
#: Routes whose answer is no JSON of ours, or is never the same.
WITHOUT = {"metrics"}


@pytest.fixture
def promoted_url(sqlite_url: str) -> str:
    """A database in which one concept has parameters, from a run that is done."""
    engine = make_engine(sqlite_url)
    promote(engine, "run-1", "fractions-3")
    with engine.begin() as conn:
        finish_run(conn, run_id="run-1", status=RunStatus.DONE, at=STARTED)
    engine.dispose()
    return sqlite_url


def test_every_example_is_what_the_service_answers(promoted_url: str):
    """Each request of the document is sent as it stands there, in the order of the table."""
    api = new_api(promoted_url)
    with api.http.running():
        document = api.http.get("/openapi.json").json()
        found = {
            operation["operationId"]: (method, path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        assert set(found) - WITHOUT == set(EXAMPLES)
        for name in EXAMPLES:
            method, path, operation = found[name]
            query = {}
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
                elif "example" in parameter:
                    query[parameter["name"]] = parameter["example"]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            role = "service" if "service" in operation.get("x-access", {}) else "admin"
            answer = api.http.request(
                method.upper(), path, params=query, headers=bearer(role),
                **({} if body is None else {"json": body["example"]}),
            )  # fmt: skip
            (told,) = (a for s, a in operation["responses"].items() if s < "300")
            assert answer.status_code < 300, (name, answer.text)
            assert answer.json() == told["content"]["application/json"]["example"], name


@pytest.fixture
def generated(
    promoted_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ModuleType, str]]:
    """A client made by a public generator, and the address of a service."""
    with listening(new_api(promoted_url).app) as address:
        document = tmp_path / "openapi.json"
        document.write_text(httpx.get(f"{address}/openapi.json").text)
        config = tmp_path / "config.yml"
        config.write_text("post_hooks: []\n")
        done = subprocess.run(
            [GENERATOR, "generate", "--path", document, "--meta", "none", "--config", config,
             "--output-path", tmp_path / "bkt_client", "--fail-on-warning"],
            capture_output=True, text=True, check=False, timeout=120,
            env=os.environ | {"NO_COLOR": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        monkeypatch.syspath_prepend(str(tmp_path))
        yield importlib.import_module("bkt_client"), address
    for name in [name for name in sys.modules if name.split(".")[0] == "bkt_client"]:
        del sys.modules[name]


def test_a_generated_client_submits_and_reads(generated: tuple[ModuleType, str]):
    """Typed requests and answers; a repeated key is a duplicate; an error is a problem."""
    package, address = generated
    models = importlib.import_module("bkt_client.models")

    def call(path: str, **asked: Any) -> Any:
        route = importlib.import_module(f"bkt_client.api.{path}")
        return route.sync(client=client, **asked)

    client = package.AuthenticatedClient(base_url=address, token=token("service"))
    attempt = models.UpdateFromAttemptRequest(
        user_id="ann",
        concept_id="fractions-3",
        correct=True,
        idempotency_key="k1",
        attempted_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    )
    with client:
        first = call("learning.submit_attempt", body=attempt)
        again = call("learning.submit_attempt", body=attempt)
        assert (first.is_duplicate, again.is_duplicate) == (False, True)
        assert first.p_mastery_new == again.p_mastery_new > first.p_mastery_prior
        mastery = call("learning.read_mastery", user_id="ann")
        assert [state.concept_id for state in mastery.states] == ["fractions-3"]
        refused = call("admin.list_runs")
        assert (type(refused).__name__, refused.status) == ("Problem", 403)


class Unsteady:
    """A service before which every second answer is lost on its way, after it was stored."""

    def __init__(self, post: Any) -> None:
        self.post, self.calls = post, 0

    def __call__(self, *words: Any, **named: Any) -> httpx.Response:
        """Send the request; lose the answer, or say 503."""
        answer: httpx.Response = self.post(*words, **named)
        self.calls += 1
        if self.calls == 1:
            raise httpx.ReadTimeout("lost on its way")
        if self.calls == 2:
            return httpx.Response(503, headers={"Retry-After": "0"}, request=answer.request)
        return answer


def test_the_twenty_lines_of_the_page_store_an_answer_once(
    promoted_url: str, monkeypatch: pytest.MonkeyPatch
):
    """An answer that was lost on its way and a 503 are repeated; a mistake is not."""
    code, example = (b.code for b in blocks_of(PAGE) if b.language == "python")
    lines = code[code.index("def submit") :].strip().splitlines()
    assert len(lines) <= 20
    with listening(new_api(promoted_url).app) as address:
        monkeypatch.setenv("BKT_SERVICE", address)
        unsteady = Unsteady(httpx.post)
        monkeypatch.setattr(httpx, "post", unsteady)
        space: dict[str, Any] = {"token": token("service")}
        exec(compile(code, str(PAGE), "exec"), space)  # noqa: S102 - a page of ours
        monkeypatch.setattr("time.sleep", lambda _seconds: None)
        stored = eval(compile(example, str(PAGE), "eval"), space)  # noqa: S307 - likewise
        assert (unsteady.calls, stored["is_duplicate"], stored["n_attempts"]) == (3, True, 1)
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            space["submit"]({"user_id": "ann", "idempotency_key": "k"}, space["token"])
        assert unsteady.calls == 4
    assert json.dumps(stored)

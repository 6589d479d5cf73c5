"""Admin requests become orders that the command line and the deployments understand."""

from __future__ import annotations

import re
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from cyclopts import CycloptsError

from flows.cli.app import build_app
from flows.runs.requests import (
    ActivateRequest,
    RecomputeRequest,
    RetrainRequest,
    RollbackRequest,
)
from serving.launcher import Command, arguments
from serving.prefect_launcher import parameters

ROOT = Path(__file__).resolve().parents[2]

#: What each deployment's flow takes as `request`.
REQUESTS = {
    Command.RETRAIN: RetrainRequest,
    Command.RECOMPUTE: RecomputeRequest,
    Command.ROLLBACK: RollbackRequest,
    Command.ACTIVATE: ActivateRequest,
}
#: The flows that admin requests start.
COMMANDS_OF = {"nightly", "recompute", "rollback", "activate-version"}
#: Every admin request that is right, and the flags it becomes.
ORDERS = [
    ("retrain", {}, ()),
    (
        "retrain",
        {"since": "2026-03-01T00:00:00+01:00", "full": True, "concept_ids": ["c", "d"]},
        (
            ("concept", "c"),
            ("concept", "d"),
            ("since", "2026-02-28T23:00:00+00:00"),
            ("full", True),
        ),
    ),
    ("retrain", {"approve_concept_ids": ["c", "d"]}, (("approve", "c"), ("approve", "d"))),
    ("recompute", {"everything": True}, ()),
    ("recompute", {"user_id": "ann"}, (("user", "ann"),)),
    ("recompute", {"concept_ids": ["c", "d"]}, (("concept", "c"), ("concept", "d"))),
    ("rollback", {"concept_id": "c"}, (("concept", "c"),)),
    ("rollback", {"concept_id": "c", "to": 7}, (("concept", "c"), ("to", "7"))),
    (
        "rollback",
        {"concept_id": "c", "to": "default"},
        (("concept", "c"), ("to", "default")),
    ),
    ("rollback", {"concept_id": "c", "release": True}, (("concept", "c"), ("release", True))),
    ("rollback", {"run_id": "r1"}, (("run", "r1"),)),
    ("activate", {"version": "v2"}, ()),
    ("activate", {"version": "v2", "approve": True}, (("approve", True),)),
]


@pytest.mark.parametrize(("path", "body", "flags"), ORDERS)
def test_admin_requests_become_orders(plain_api, path, body, flags):
    """And the launch can be followed under the id that was answered."""
    answer = plain_api.post(f"/admin/{path}", body, "admin", sub="olga")
    assert answer.status_code == 202
    (order,) = plain_api.launcher.orders
    asked_by = (("actor", "olga"),) if path in {"rollback", "activate"} else ()
    assert (order.command, order.flags) == (path, flags + asked_by)
    named = (("version", body["version"]),) if path == "activate" else ()
    assert order.positional == named
    followed = plain_api.get(f"/admin/launches/{answer.json()['launch_id']}", "admin")
    assert followed.json() == answer.json()


@pytest.mark.parametrize(("path", "body"), [case[:2] for case in ORDERS])
def test_an_order_is_what_the_flow_and_the_command_line_take(plain_api, path, body):
    """The service imports neither, so that only this test holds the three together."""
    plain_api.post(f"/admin/{path}", body, "admin")
    (order,) = plain_api.launcher.orders
    request = REQUESTS[order.command](**parameters(order)["request"])
    _, bound, ignored = build_app().parse_args(
        arguments(order), exit_on_error=False, print_error=False
    )
    assert not ignored
    given = {}
    for name, value in bound.arguments.items():
        given |= asdict(value) if is_dataclass(value) else {name: value}
    for names, field in ((("concept", "concepts"), "concepts"), (("approve",), "approve")):
        told = next((given[name] for name in names if given.get(name)), ())
        asked = getattr(request, field, None) or ()
        assert told is asked is True or list(told) == list(asked)
    assert given.get("version") == getattr(request, "version", None)
    for flag in ("user", "to", "run", "full", "release", "actor"):
        assert (given.get(flag) or None) == (getattr(request, flag, None) or None)


@pytest.mark.parametrize("hostile", ["--json", '["a"]', "a,b", "-1", "", " ", "a=b", "{}"])
def test_a_concept_reaches_the_command_as_it_is(hostile):
    """The command line takes a value that looks like a list or a flag for neither."""
    tokens = ["recompute", f"--concept={hostile}", "--json"]
    try:
        _, bound, _ = build_app().parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError:
        assert hostile == "", "only an empty concept is refused"
        return
    assert bound.arguments["concept"] == (hostile,)


@pytest.mark.parametrize("subject", ["a\0b", "\ud800", "x" * 300, "\0"])
def test_whoever_the_token_names_can_be_written_down(plain_api, subject):
    assert plain_api.post("/admin/rollback", {"run_id": "r1"}, "admin", sub=subject)
    (order,) = plain_api.launcher.orders
    actor = dict(order.flags)["actor"]
    assert 0 < len(actor) <= 255
    assert "\0" not in actor
    assert actor.encode()


def test_the_deployments_that_the_settings_tell_of_exist():
    """Settings and document tell their names, which are empty without a server."""
    described = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    existing = {f"{_flow_name(one['entrypoint'])}/{one['name']}" for one in described}
    for path in ("conf/default.toml", "docs/api.md"):
        told = set(re.findall(r"[`\"]([\w-]+/[\w-]+)[`\"]", (ROOT / path).read_text()))
        assert {
            "nightly/manual",
            "recompute/recompute",
            "rollback/rollback",
            "activate-version/activate",
        } <= told, path
        assert {name for name in told if name.split("/")[0] in COMMANDS_OF} <= existing, path


def _flow_name(entrypoint: str) -> str:
    module, _, name = entrypoint.rpartition(".")
    return str(getattr(import_module(module), name).name)

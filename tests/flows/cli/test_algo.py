"""`bkt algo`: answers for people and programs, refusals in a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bkt_core.params import AlgoParams
from flows.cli.app import run
from tests.datasets.store.params.test_activation import fit_v2

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings

TOML = "mastery_threshold = 0.9\n[constraints]\nL0_max = 0.8\n"


@pytest.fixture
def home(bkt_home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A data folder with a database."""
    assert run(["init"]) == 0
    capsys.readouterr()
    return bkt_home


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(["algo", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["algo", *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_a_candidate_from_toml_or_json_is_shown_then_retired(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    (home / "narrow.toml").write_text(TOML)
    values = {"constraints": {"L0_max": 0.8}, "mastery_threshold": 0.9}
    (home / "narrow.json").write_text(json.dumps(values))
    assert answer(capsys, "add", "v1-narrow", str(home / "narrow.toml"))["added"]
    assert not answer(capsys, "add", "v1-narrow", str(home / "narrow.json"))["added"]
    told = answer(capsys, "show", "v1-narrow")
    bounds = AlgoParams.from_json(values).bounds
    assert (bounds.L0_max, bounds.G_max) == (0.8, 0.4)
    assert told["settings"] == AlgoParams.from_json(values).as_json()
    assert told["differs"].keys() == {"mastery_threshold", "constraints.L0_max"}
    assert told["status"] == "CANDIDATE"
    assert told["differs"]["mastery_threshold"] == {"here": 0.9, "in_force": 0.95}
    assert run(["algo", "show", "v1-narrow"]) == 0
    assert "mastery_threshold" in capsys.readouterr().out
    assert answer(capsys, "retire", "v1-narrow")["retired"]
    names = [one["version"] for one in answer(capsys, "list")["versions"]]
    assert names == ["v1", "v2", "v3", "v4", "v5"]
    assert run(["algo", "list"]) == 0
    assert "1 retired" in capsys.readouterr().out
    every = [one["version"] for one in answer(capsys, "list", "--all")["versions"]]
    assert every == [*names, "v1-narrow"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.toml", "L0_max = 0.8", "L0_max, which this release does not know"),
        ("a.toml", "L0_max = ", "cannot be read"),
        ("a.json", "[1]", "must hold an object"),
        ("a.json", '{"variant": {"forget": true}}', "variant"),
    ],
)
def test_a_file_that_means_nothing_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, said: str
):
    (home / name).write_text(content)
    assert said in refusal(capsys, "add", "v9", str(home / name))
    advice = refusal(capsys, "show", "v9")
    assert "v1, v2" in advice
    assert "bkt algo list" in advice
    assert "bkt init" not in advice
    assert "in force" in refusal(capsys, "retire", "v1")


def test_a_file_that_is_not_there_is_named(home: Path, capsys: pytest.CaptureFixture[str]):
    assert "nowhere.toml" in refusal(capsys, "add", "v9", str(home / "nowhere.toml"))


def test_activate_tells_then_does_it(tracked_home: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["init"]) == 0
    assert tracked_home.is_dir()
    capsys.readouterr()
    plan = answer(capsys, "activate", "v2", "--dry-run")
    assert (plan["before"], plan["after"], plan["to_defaults"]) == ("v1", "v2", [])
    assert run(["algo", "activate", "v2", "--dry-run"]) == 0
    assert "v1 → v2" in capsys.readouterr().out
    assert answer(capsys, "activate", "v2", "--approve")["after"] == "v2"
    assert run(["algo", "activate", "v2"]) == 0
    assert "in force already" in capsys.readouterr().out
    statuses = {one["version"]: one["status"] for one in answer(capsys, "list")["versions"]}
    others = dict.fromkeys(("v1", "v3", "v4", "v5"), "CANDIDATE")
    assert statuses == others | {"v2": "ACTIVE"}


def test_params_of_a_version_and_the_versions_of_a_history(
    settings: Settings, engine: Engine, capsys: pytest.CaptureFixture[str]
):
    del settings
    fit_v2(engine, "a")
    assert run(["params", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["algo_version"], told["in_force"], told["params"]) == ("v1", True, [])
    assert run(["params", "--algo", "v2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["algo_version"], told["in_force"]) == ("v2", False)
    assert [row["concept_id"] for row in told["params"]] == ["a"]
    assert run(["params", "--history", "a", "--json"]) == 0
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert (event["algo_version"], event["decision"]) == ("v2", "promoted")
    assert run(["params", "--history", "a", "--algo", "v1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == []
    assert run(["params", "--algo", "v9"]) != 0

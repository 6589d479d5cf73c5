"""Attempts without a stamp: who is told, and the command that mends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_core import params
from bkt_core.params import AlgoParams
from bkt_core.variant import Variant
from flows.actions.activate import plan_activation
from flows.cli.app import run
from flows.health.findings import Level
from flows.health.stamps import examine_stamps
from flows.shards.plan import stamps_remark
from tests.datasets.store.attempts.test_stamps import forget

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def read_history(engine: Engine) -> None:
    """The version in force reads stamps."""
    is_postgres = engine.dialect.name == "postgresql"
    with engine.begin() as conn:
        stored = conn.execute(text("SELECT params FROM algo_params WHERE id = 1")).scalar_one()
        algo = stored if is_postgres else json.loads(stored)
        algo["variant"] = {"history": True}
        conn.execute(
            text("UPDATE algo_params SET params = :p WHERE id = 1"), {"p": json.dumps(algo)}
        )


def test_an_installation_says_when_stamps_are_missing_and_mends_it(
    settings: Settings, engine: Engine, capsys: pytest.CaptureFixture[str]
):
    """Without a version that reads them that is no fault; nothing but `bkt stamp` writes."""
    (fresh,) = examine_stamps(settings)
    assert (fresh.level, fresh.message) == (Level.OK, "every attempt has a stamp")
    assert answer(capsys, "init")["attempts_without_stamp"] is False
    forget(engine)
    (told,) = examine_stamps(settings)
    assert told.level is Level.OK
    assert "attempts have no stamp; `bkt stamp` is needed before" in told.message
    assert answer(capsys, "init")["attempts_without_stamp"] is True
    missing = answer(capsys, "status")["attempts"]
    read_history(engine)
    (asked,) = examine_stamps(settings)
    assert asked.level is Level.WARN
    assert "bkt stamp" in str(asked.remedy)
    done = answer(capsys, "stamp")
    assert done == {"stamped": missing["without_stamp"], "left": 0}  # type: ignore[index]
    assert answer(capsys, "stamp") == {"stamped": 0, "left": 0}
    (mended,) = examine_stamps(settings)
    assert mended.level is Level.OK
    assert run(["stamp"]) == 0
    assert "every attempt has a stamp" in capsys.readouterr().out


def test_a_version_with_history_waits_for_stamps(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(params._SECTIONS, "variant", frozenset(("history",)))
    read_history(engine)
    assert plan_activation(settings, "v1").objections == ()
    forget(engine)
    (objection,) = plan_activation(settings, "v1").objections
    assert "have no stamp" in objection
    assert "bkt stamp" in objection


def test_a_fit_of_a_version_with_history_tells_of_missing_stamps():
    history, plain = AlgoParams(variant=Variant(history=True)), AlgoParams()
    (remark,) = stamps_remark(history, 1200)
    assert remark.startswith("1,200 attempts have no stamp")
    assert stamps_remark(history, 0) == stamps_remark(plain, 1200) == ()

"""The sweep after a switch of versions: from an extraction, or from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from datasets.errors import ExtractError
from datasets.store.params.versions import retire_version
from datasets.store.states.sweep import sweep
from flows.actions.activate import NotApprovedError, activate
from tests.datasets.store.params.test_activation import fit_v2
from tests.datasets.store.writing import import_rows, promote
from tests.flows.actions.test_activate import SURE, crowd, states
from tests.moments import STARTED

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


def test_the_sweep_after_a_switch_takes_its_values_from_the_files(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Of fitted concepts; what has defaults, or no extraction, is replayed from the log."""
    done = []

    def noted(*args: Any, **more: Any) -> Any:
        done.append(sweep(*args, **more))
        return done[-1]

    monkeypatch.setattr("flows.actions.activate.sweep", noted)
    crowd(engine)
    import_rows(engine, [{"key": "other", "concept": "d"}])
    promote(engine, "run-1", "c")
    fit_v2(engine, "c", SURE)
    sweep(engine, at=STARTED)
    assert activate(settings, "v2", approve=True).states == 45
    assert (done[0].staged, done[0].replayed) == (40, 5)
    states(engine)

    def refused(*_args: object) -> None:
        raise ExtractError("no room")

    monkeypatch.setattr("flows.actions.activate.extract_for", refused)
    assert activate(settings, "v1", approve=True).states == 45
    assert (done[1].staged, done[1].replayed) == (0, 45)
    states(engine)


def test_a_retired_version_comes_back_by_a_person_alone(settings: Settings, engine: Engine):
    """And what falls to its defaults is told also where a person approved."""
    promote(engine, "run-1", "a")
    with engine.begin() as conn:
        assert retire_version(conn, "v2")
    with pytest.raises(NotApprovedError, match="v2 is retired"):
        activate(settings, "v2")
    done = activate(settings, "v2", approve=True)
    assert (done.after, done.to_defaults) == ("v2", 1)
    states(engine)

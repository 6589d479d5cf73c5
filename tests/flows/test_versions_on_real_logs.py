"""v1, v2 and back on a real log: every state is the replay, and the first bits return."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_settings.pipeline import load_settings
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import reading
from flows.actions.activate import activate
from flows.nightly import nightly
from flows.runs.requests import RetrainRequest
from tests.datasets.store.params.test_activation import expected, stored

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

pytestmark = [
    pytest.mark.harness,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("prefect_server"),
]
LATEST = text(
    "SELECT user_id, concept_id, p_mastery, param_id FROM mastery_snapshot m "
    "WHERE id = (SELECT max(id) FROM mastery_snapshot l "
    "WHERE l.user_id = m.user_id AND l.concept_id = m.concept_id)"
)
EVENTS = text(
    "SELECT run_id, count(*) FROM bkt_promotion_event WHERE decision = 'activated' "
    "GROUP BY run_id"
)


def replayed(engine: Engine) -> dict[tuple[str, str], tuple[float, int | None, int]]:
    """Every state, once it was found to be the replay by plain Python."""
    with reading(engine) as conn:
        states = stored(conn)
        assert states == expected(conn)
        latest = {
            (row.user_id, row.concept_id): (row.p_mastery, row.param_id)
            for row in conn.execute(LATEST)
        }
    # The snapshots tell the same; equal mastery under the defaults of both makes no new row.
    assert latest == {key: one[:2] for key, one in states.items()}
    return states


@pytest.mark.parametrize(
    ("name", "at_least"),
    [("algebra05_114u", 7_000), ("assist0910_builder_train", 20_000)],
)
def test_there_and_back(
    name: str,
    at_least: int,
    benchmark_data: Path,
    tracked_home: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
):
    url = engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    monkeypatch.setenv("BKT_FIT__CANDIDATES", '["v2"]')
    import_file(
        engine,
        benchmark_data / f"{name}.parquet",
        ImportOptions(),
        quarantine_root=tracked_home / "q",
        at=datetime.now(UTC),
    )
    nightly(RetrainRequest())
    first = replayed(engine)
    assert len(first) > at_least
    there = activate(load_settings(), "v2", approve=True)
    second = replayed(engine)
    assert there.states == len(first)
    assert {key: one[0] for key, one in second.items()} != {
        key: one[0] for key, one in first.items()
    }
    back = activate(load_settings(), "v1", approve=True)
    assert replayed(engine) == first
    with reading(engine) as conn:
        told = {run: n for run, n in conn.execute(EVENTS)}  # noqa: C416 - of rows
    assert told.keys() == {there.run_id, back.run_id}
    assert len(set(told.values())) == 1

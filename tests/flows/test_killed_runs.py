"""`kill -9` at each stage, then the next run: the same end as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.settings import PREFECT_API_URL
from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from tests.flows.support.attempt_logs import fill_log
from tests.flows.support.killed_runs import PLACES
from tests.flows.support.night_oracle import expected_states, stored_states
from tests.moments import STARTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for all of it, on a machine that is busy with other things.
PATIENCE = 800
TRUE = {
    f"concept {n}": BktParams(p_L0=0.1 + 0.1 * n, p_T=0.2, p_S=0.1, p_G=0.2) for n in range(4)
}
#: What a run leaves, without moments and the ids that a rolled back insert may skip.
LEFT = {
    "parameters": "SELECT concept_id, p_l0, p_t, p_s, p_g, n_attempts, run_id, is_active "
    "FROM bkt_skill_params ORDER BY 1, 7",
    "states": "SELECT s.user_id, s.concept_id, s.p_mastery, s.n_attempts, s.is_stale, p.run_id "
    "FROM bkt_user_skill_state s LEFT JOIN bkt_skill_params p ON p.id = s.param_id "
    "ORDER BY 1, 2",
    "snapshots": "SELECT user_id, concept_id, p_mastery, n_attempts, run_id "
    "FROM mastery_snapshot ORDER BY 1, 2, 5",
    "events": "SELECT concept_id, decision, run_id, actor FROM bkt_promotion_event "
    "ORDER BY 1, 3",
    "runs": "SELECT run_id, kind, status FROM bkt_run ORDER BY 1",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.harness,
    pytest.mark.usefixtures("prefect_server"),
]


def left_by(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """The end state of a database, table by table."""
    with engine.connect() as conn:
        return {
            name: [tuple(row) for row in conn.execute(text(query))]
            for name, query in LEFT.items()
        }


def kind_of(place: str) -> str:
    return "backfill" if place.startswith("backfill") else "nightly"


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, migrated_tracking_store: Path
) -> Iterator[dict[str, tuple[list[int], Engine, Path]]]:
    """How both runs of every place ended, and the database that they left."""
    home = tmp_path_factory.mktemp("killed")
    template = home / "template"
    template.mkdir()
    shutil.copy(migrated_tracking_store, template / "mlflow.db")
    engine = make_engine(f"sqlite:///{template / 'bkt.db'}")
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=STARTED)
    begins = datetime(2026, 1, 6, tzinfo=UTC)
    fill_log(engine, template, TRUE, n_users=30, begins=begins)
    engine.dispose()
    plan = []
    for number, place in enumerate(["nightly", "backfill", *PLACES]):
        own = home / str(number)
        shutil.copytree(template, own)
        is_whole = place not in PLACES
        plan.append(
            {
                "name": place,
                "place": None if is_whole else place,
                "kind": place if is_whole else kind_of(place),
                "home": str(own),
                "out": str(own / "codes.json"),
            }
        )
    (home / "plan.json").write_text(json.dumps(plan))
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("BKT")
    }
    env = inherited | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": str(ROOT),
        "BKT_FIT__STARTS": "2",
        "BKT_RECOMPUTE__STATES_PER_CHUNK": "20",
    }
    subprocess.run(
        [sys.executable, "-m", "tests.flows.support.killed_runs", str(home / "plan.json")],
        cwd=ROOT,
        env=env,
        check=True,
        timeout=PATIENCE,
    )
    found = {
        entry["name"]: (
            json.loads(Path(entry["out"]).read_text()),
            make_engine(f"sqlite:///{entry['home']}/bkt.db"),
            Path(entry["home"]),
        )
        for entry in plan
    }
    yield found
    for _, engine, _ in found.values():
        engine.dispose()


@pytest.mark.parametrize("place", PLACES)
def test_the_next_run_ends_as_an_undisturbed_one(
    ended: dict[str, tuple[list[int], Engine, Path]], place: str
):
    """Parameters, states, snapshots, events and runs: the same rows under the same run."""
    codes, engine, _ = ended[place]
    assert codes == [-9, 0]
    whole_codes, undisturbed, _ = ended[kind_of(place)]
    assert whole_codes == [0]
    wanted = left_by(undisturbed)
    assert left_by(engine) == wanted
    assert len(wanted["parameters"]) == len(TRUE)
    assert len(wanted["snapshots"]) == len(wanted["states"]) > 0
    assert stored_states(engine) == expected_states(engine)


def test_a_killed_backfill_repeats_nothing(
    ended: dict[str, tuple[list[int], Engine, Path]],
):
    """The files of the step that was done are older than the kill, and so is the extraction."""
    _, engine, home = ended["backfill: in the second step"]
    with engine.connect() as conn:
        steps = conn.execute(
            text(
                "SELECT run_id, started_at FROM bkt_run WHERE kind = 'backfill-step' "
                "ORDER BY started_at"
            )
        ).all()
    first, second = (datetime.fromisoformat(f"{row.started_at}+00:00") for row in steps[:2])
    (extract,) = (path for path in (home / "extracts").iterdir() if path.is_dir())
    done = [*(home / "runs" / steps[0].run_id).rglob("shard-*.json"), extract / "manifest.json"]
    assert len(done) == len(TRUE) + 1
    assert all(path.stat().st_mtime < second.timestamp() for path in done)
    assert first < second

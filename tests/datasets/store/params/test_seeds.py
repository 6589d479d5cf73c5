"""What `bkt init` puts into an empty database, and leaves alone in any other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select, text

from bkt_core.params import AlgoParams
from bkt_core.variant import ForgettingBounds, Variant
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.params.seeds import seed
from datasets.store.schema.tables import AlgoParamsRow, AlgoVersionRow
from tests.moments import STARTED


def stored_rows(engine):
    with engine.begin() as conn:
        versions = conn.execute(select(AlgoVersionRow.__table__).order_by(AlgoVersionRow.id))
        params = conn.execute(select(AlgoParamsRow.__table__).order_by(AlgoParamsRow.id))
        return versions.all(), params.all()


def test_v1_is_in_force_v2_has_more_room_for_l0_and_v3_forgets(engine):
    with engine.begin() as conn:
        active = active_algorithm(conn)
        candidate, forgetting = algorithm(conn, "v2"), algorithm(conn, "v3")
        questions, history = algorithm(conn, "v4"), algorithm(conn, "v5")
    versions, _params = stored_rows(engine)
    assert [(row.version, row.status) for row in versions] == [
        ("v1", "ACTIVE"),
        ("v2", "CANDIDATE"),
        ("v3", "CANDIDATE"),
        ("v4", "CANDIDATE"),
        ("v5", "CANDIDATE"),
    ]
    assert (active.version, active.params) == ("v1", AlgoParams())
    wider = replace(AlgoParams().bounds, L0_max=0.95)
    assert candidate.params == replace(active.params, bounds=wider)
    assert forgetting.params == replace(
        candidate.params, variant=Variant(forgetting=True), bounds_of_F=ForgettingBounds()
    )
    v4 = Variant(forgetting=True, questions=True)
    assert questions.params == replace(forgetting.params, variant=v4)
    v5 = replace(v4, history=True, gap=True)
    assert history.params == replace(forgetting.params, variant=v5)


def test_seeding_again_changes_no_row(engine):
    before = stored_rows(engine)
    with engine.begin() as conn:
        seed(conn, at=STARTED + timedelta(days=1))
    assert stored_rows(engine) == before


def test_a_version_that_an_operator_put_in_force_stays_in_force(engine):
    with engine.begin() as conn:
        conn.execute(text("UPDATE algo_versions SET status = 'RETIRED' WHERE version = 'v1'"))
        conn.execute(text("UPDATE algo_versions SET status = 'ACTIVE' WHERE version = 'v2'"))
        seed(conn, at=STARTED)
        assert active_algorithm(conn).version == "v2"

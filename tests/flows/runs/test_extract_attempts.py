"""An extraction carries questions and stamps where a version reads them, and not else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bkt_core.variant import Variant
from datasets.store.connections.engines import reading
from datasets.store.params.versions import any_reads_details
from flows.extract_attempts import read_attempt_log

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


def give_v2(engine: Engine, **variant: bool) -> None:
    with engine.begin() as conn:
        stored = conn.execute(text("SELECT params FROM algo_params WHERE id = 2")).scalar_one()
        params = stored if isinstance(stored, dict) else json.loads(stored)
        params["variant"] = variant
        conn.execute(
            text("UPDATE algo_params SET params = :p WHERE id = 2"), {"p": json.dumps(params)}
        )


@pytest.mark.parametrize(
    ("variant", "reads"),
    [
        ({}, False),
        ({"forgetting": True, "gap": True}, False),
        ({"questions": True}, True),
        ({"history": True}, True),
    ],
)
def test_the_versions_of_a_run_decide(
    settings: Settings, engine: Engine, variant: dict[str, bool], reads: bool
):
    """The version in force, and those that are asked for; others cost nothing."""
    give_v2(engine, **variant)
    assert Variant.from_json(variant).reads_details is reads
    with reading(engine) as conn:
        assert any_reads_details(conn, ("v2",)) is reads
        assert not any_reads_details(conn, ())
    for versions, expected in (([], False), (["v2"], reads)):
        extract = read_attempt_log.fn(settings, full=False, versions=versions).open()
        assert extract.details is expected
        plain = extract.concepts["digest"].to_pylist()
        assert extract.digests_for(Variant(gap=True)) == plain
        assert (extract.digests_for(Variant(questions=True)) != plain) is expected

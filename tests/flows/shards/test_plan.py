"""The shards of a run: small jobs of plain values, the dearest first."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

from flows.shards.plan import costs_of
from flows.shards.work import fit_shard

if TYPE_CHECKING:
    from tests.flows.support.shard_worlds import World


def test_a_job_is_plain_values_and_small(world: World):
    """It comes out of a pickle as it went in, and holds no attempts."""
    for job in world.jobs():
        sent = pickle.dumps(job)
        assert len(sent) < 20_000
        again = pickle.loads(sent)  # noqa: S301 - our own bytes
        fit_shard(job)
        here = job.out.read_bytes()
        fit_shard(replace(again, full=True))
        assert job.out.read_bytes().replace(b'"fitted"', b"") == here.replace(b'"fitted"', b"")


def test_the_dearest_shard_is_begun_first_and_what_is_kept_costs_nothing(world: World):
    """With a third of all attempts in one concept, its shard comes before the others."""
    jobs = world.jobs()
    costs = costs_of(jobs, world.extract)
    names = world.extract.concepts["concept_id"].to_pylist()
    shards = world.extract.concepts["shard"].to_pylist()
    assert jobs[0].shard == dict(zip(names, shards, strict=True))["large"]
    assert [costs[job.shard] for job in jobs] == sorted(costs.values(), reverse=True)
    assert sum(costs.values()) == world.extract.rows.accepted

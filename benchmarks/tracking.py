"""Seconds to log the evidence of a run of 1,000 concepts into a local MLflow store."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.judgement import ALGO, LIMITS, challenge
from bkt_core.judgement.selection import decide
from bkt_core.params import BktParams
from flows.evidence.evidence import RunEvidence, gather_evidence, write_evidence
from flows.reports.page import write_page
from flows.tracking.client import log_retrain

N_CONCEPTS = 1_000
N_DISTINCT = 10


def evidence_of_a_run(name: str) -> RunEvidence:
    """Ten judged concepts of 2,000 users, told a hundred times each under other names."""
    rng = np.random.default_rng(1)
    truth = BktParams(0.3, 0.15, 0.1, 0.2)
    judged = [challenge("concept", truth, 200, rng) for _ in range(N_DISTINCT)]
    many = [
        replace(one, fit=replace(one.fit, concept_id=f"concept-{index}"))
        for index in range(N_CONCEPTS)
        for one in (judged[index % N_DISTINCT],)
    ]
    return gather_evidence(
        decide(many, LIMITS),
        run_id=name,
        kind="retrain",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        algo=ALGO,
        tags={"data_digest": "0" * 32},
        settings={},
        origins={},
        errors={},
    )


def main() -> None:
    """Print the seconds of each part; the first log makes and migrates the store."""
    evidence = evidence_of_a_run("a" * 32)
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        store, artifacts = f"sqlite:///{root / 'mlflow.db'}", (root / "artifacts").as_uri()
        clock = time.perf_counter
        parts = {}
        before = clock()
        write_evidence(root / "run", evidence)
        parts["files"] = clock() - before
        before = clock()
        write_page(root / "run", evidence)
        parts["page and figures"] = clock() - before
        before = clock()
        log_retrain(store, "bench", artifacts, evidence, root / "run")
        parts["log, into a new store (imports and migrations)"] = clock() - before
        again = RunEvidence(
            replace(evidence.facts, run_id="b" * 32),
            evidence.concepts,
            evidence.checks,
            evidence.curves,
        )
        before = clock()
        log_retrain(store, "bench", artifacts, again, root / "run")
        parts["log, into a store that is there"] = clock() - before
    print(f"\nA run of {N_CONCEPTS} concepts, {evidence.checks.height} checks")
    for name, seconds in parts.items():
        print(f"{name:50}{seconds:8.2f} s")


if __name__ == "__main__":
    main()

"""`bkt simulate`: write synthetic attempts, drawn from known parameters."""

from __future__ import annotations

from pathlib import Path

from bkt_core.errors import UsageError
from datasets.synthetic import SimulationPlan, write_simulation
from flows.cli.output import DEFAULT_OUTPUT, Output


def simulate(
    out: Path,
    /,
    *,
    concepts: int = 12,
    users: int = 300,
    seed: int = 1,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Write synthetic attempts with known parameters, as a Parquet file.

    Parameters
    ----------
    out
        The attempt log to write; the true parameters go beside it, to `<name>.truth.json`.
    concepts
        Number of concepts, each with its own parameters.
    users
        Number of users; each practises most of the concepts.
    seed
        The same seed writes the same file.

    """
    if out.suffix != ".parquet":
        raise UsageError(f"bkt simulate writes Parquet: name a .parquet file, got {out}.")
    if concepts < 1 or users < 1:
        raise UsageError(
            f"--concepts and --users must be at least 1, got {concepts} and {users}."
        )
    plan = SimulationPlan(n_concepts=concepts, n_users=users, seed=seed)
    written = write_simulation(out, plan)
    output.give(
        {"file": str(out), "truth": str(written.truth), "attempts": written.n_attempts},
        lambda console: console.print(
            f"{written.n_attempts:,} attempts of {users} users at {concepts} concepts: {out}\n"
            f"The true parameters: {written.truth}"
        ),
    )
    return 0

"""Tags by which runs are compared in MLflow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import runtime

from flows.runs.plan import CANDIDATE, PACKAGE_VERSION

if TYPE_CHECKING:
    from flows.runs.plan import RunPlan

_GIT_SECONDS = 5


def tags_of(plan: RunPlan) -> dict[str, str]:
    """Return window, version, engine, seed, commit, trigger and external ids, as text."""
    return {
        "run_id": plan.run_id,
        "kind": plan.kind,
        "role": CANDIDATE if plan.kind == CANDIDATE else "",
        "since": "" if plan.since is None else plan.since.isoformat(),
        "until": "" if plan.until is None else plan.until.isoformat(),
        "algo_version": plan.algo_version,
        "engine": plan.engine,
        "seed": str(plan.seed),
        "data_digest": plan.extract_root.name,
        "settings_digest": plan.settings_digest,
        "package_version": PACKAGE_VERSION,
        "git_commit": git_commit(),
        "trigger": trigger(),
        "prefect_flow_run_id": str(runtime.flow_run.root_flow_run_id or ""),
        "dry_run": str(plan.dry_run).lower(),
        "known_by": "" if plan.known_by is None else plan.known_by.isoformat(),
        "parent_run": plan.parent_run_id or "",
    }


def trigger() -> str:
    """Return the name of the deployment that started the run, or `command line`."""
    name = runtime.deployment.name
    return f"deployment {name}" if name else "command line"


def git_commit() -> str:
    """Return the commit of the checkout that contains this package; empty outside of one."""
    git, root = shutil.which("git"), Path(__file__).resolve().parents[2]
    if git is None or not (root / ".git").exists():
        return ""
    found = subprocess.run(  # noqa: S603 - git itself, with fixed arguments
        [git, "-C", str(root), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_GIT_SECONDS,
    )
    return found.stdout.strip() if found.returncode == 0 else ""

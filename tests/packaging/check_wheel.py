"""`python -m tests.packaging.check_wheel PYTHON…`: the wheel in an empty environment of each.

Builds the wheel, installs it with what it depends on into an environment that nothing else is
in, and runs `bkt init`, `simulate`, `import`, `retrain` there, in a folder of its own. Then
every state is compared with a plain-Python replay. Needs a package index and some minutes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built without a download."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel


def states_off_their_replay(database: Path) -> tuple[int, int]:
    """States, and those that differ from the replay of their attempts in plain Python."""
    sys.path.insert(0, str(ROOT))
    from tests.oracles.replay import DEFAULTS, mastery

    conn = sqlite3.connect(database)
    active = {
        row[0]: row[1:]
        for row in conn.execute(
            "SELECT concept_id, p_l0, p_t, p_s, p_g FROM bkt_skill_params WHERE is_active"
        )
    }
    outcomes: dict[tuple[str, str], list[int]] = {}
    for user, concept, correct in conn.execute(
        "SELECT user_id, concept_id, correct FROM attempts ORDER BY attempted_at, id"
    ):
        outcomes.setdefault((user, concept), []).append(correct)
    states = conn.execute("SELECT user_id, concept_id, p_mastery FROM bkt_user_skill_state")
    rows = states.fetchall()
    conn.close()
    wrong = sum(
        p != mastery(outcomes[user, concept], active.get(concept, DEFAULTS))
        for user, concept, p in rows
    )
    return len(rows), wrong


def check(python: str, wheel: Path, folder: Path) -> bool:
    """Install and run; True if every state is the replay of its attempts."""
    venv = folder / "venv"
    subprocess.run([python, "-m", "venv", str(venv)], check=True)
    installer = os.environ.get(
        "BKT_WHEEL_INSTALLER", f"{venv}/bin/python -m pip install --quiet"
    )
    subprocess.run([*installer.replace("{venv}", str(venv)).split(), str(wheel)], check=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BKT_", "PYTHON"))}
    env["BKT_DATA_DIR"] = str(folder / "data")
    told = ""
    for words in (
        ["init"],
        ["simulate", "attempts.parquet", "--users", "60", "--concepts", "6"],
        ["import", "attempts.parquet"],
        ["retrain", "--json"],
        ["doctor", "--json"],
    ):
        done = subprocess.run(
            [str(venv / "bin" / "bkt"), *words],
            cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        if done.returncode:
            print(
                f"{python}: bkt {' '.join(words)} ended with {done.returncode}: {done.stderr}"
            )
            return False
        told = done.stdout if words[0] == "retrain" else told
    n_states, wrong = states_off_their_replay(folder / "data" / "bkt.db")
    promoted = json.loads(told)["concepts"]["promoted"]
    print(
        f"{python}: {promoted} promoted, {n_states} states, {wrong} off their replay",
        flush=True,
    )
    return wrong == 0 and n_states > 0


def main() -> int:
    """Check each Python that is named, else this one."""
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(Path(scratch))
        for number, python in enumerate(sys.argv[1:] or [sys.executable]):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            good &= check(python, wheel, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run commands of `bkt` in one process with every pickle watched: `… watched PLAN REPORT`.

PLAN is JSON: a list of steps, each with a name, the words of a command and its own variables.
REPORT gets what each said and returned, and who pickled or unpickled anything, as the chain of
modules that led there. What other processes do is not seen here; their files are searched by
the tests.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import traceback
from collections import Counter
from pathlib import Path

FUNCTIONS = ("load", "loads", "dump", "dumps")
CLASSES = ("Pickler", "Unpickler", "_Pickler", "_Unpickler")
DEEPEST = 12

seen: Counter[tuple[str, str]] = Counter()


def callers() -> str:
    """The modules on the stack, the nearest first, without pickle itself and us."""
    frame, chain = sys._getframe(2), []
    while frame is not None and len(chain) < DEEPEST:
        name = str(frame.f_globals.get("__name__"))
        if name not in ("pickle", "_pickle", "copyreg", "__main__", __name__):
            chain.append(name)
        frame = frame.f_back
    return " < ".join(chain)


def watch() -> None:
    """Count calls of every door into pickle, and every class that unpickling looks up."""
    for name in FUNCTIONS:
        setattr(pickle, name, _counted_function(name))
    for name in CLASSES:
        setattr(pickle, name, _counted_class(name))

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event == "pickle.find_class":
            seen["find_class " + ".".join(map(str, arguments[:2])), callers()] += 1

    sys.addaudithook(audit)


def _counted_function(name: str):
    whole = getattr(pickle, name)

    def counted(*arguments, **named):
        seen[name, callers()] += 1
        return whole(*arguments, **named)

    return counted


def _counted_class(name: str):
    class Counted(getattr(pickle, name)):
        def __init__(self, *arguments, **named) -> None:
            seen[name, callers()] += 1
            super().__init__(*arguments, **named)

    Counted.__name__ = name
    return Counted


def main() -> int:
    """Watch, live every step, report."""
    plan, report = map(Path, sys.argv[1:])
    watch()
    steps = json.loads(plan.read_text(encoding="utf-8"))
    said = {step["name"]: live(step, report.parent) for step in steps}
    pickled = [[what, by, n] for (what, by), n in seen.items()]
    report.write_text(json.dumps({"said": said, "pickled": pickled}), encoding="utf-8")
    return 0


def live(step: dict, scratch: Path) -> dict:
    """One command with its own variables, its output caught below Python."""
    from flows.cli.app import run

    os.environ.update(step["environment"])
    paths = {fd: scratch / f"caught-{fd}" for fd in (1, 2)}
    kept = {fd: os.dup(fd) for fd in paths}
    for fd, path in paths.items():
        sys.stdout.flush()
        with path.open("wb") as file:
            os.dup2(file.fileno(), fd)
    try:
        words = step["words"]
        exit_code = load_champion() if words == ["load-champion"] else run(words)
    except Exception:  # noqa: BLE001 - `--debug` lets everything through
        traceback.print_exc()
        exit_code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, was in kept.items():
            os.dup2(was, fd)
            os.close(was)
    stdout, stderr = (path.read_text(errors="replace") for path in paths.values())
    return {"exit_code": exit_code, "stdout": stdout, "stderr": stderr}


def load_champion() -> int:
    """What a data scientist does with the registered model."""
    import mlflow  # noqa: TID251 - as the guide says
    import pandas as pd

    mlflow.set_tracking_uri(os.environ["BKT_MLFLOW_TRACKING_URI"])
    model = mlflow.pyfunc.load_model("models:/bkt-mastery@champion")
    frame = pd.DataFrame(
        {
            "user_id": ["ann"],
            "concept_id": ["concept-001"],
            "correct": [1],
            "attempted_at": [pd.Timestamp("2026-01-01", tz="UTC")],
        }
    )
    assert 0 < model.predict(frame)[0] < 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

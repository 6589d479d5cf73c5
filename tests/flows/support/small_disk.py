"""A life on a disk that is full more than once; prints what happened as JSON.

Run it in a mount namespace of its own (`unshare --mount --map-root-user`), as the test does:
the disk, a tmpfs, goes with it. Each `bkt retrain` finds as much room as is left beside a
ballast; the last one finds enough.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

DISK_MIB = 96
#: KiB left to a run: from no room for a lock file to all but the last files.
ROOM_KIB = (0, 256, 3072)


def main(disk: Path, log: Path) -> None:
    """Live it."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)], check=True
    )
    os.environ["BKT_DATA_DIR"] = str(disk / "var")
    told = {"init": bkt("init"), "import": bkt("import", str(log))}
    for room in ROOM_KIB:
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            fill(file, disk, room * 1024)
        told[f"retrain with {room} KiB"] = bkt("retrain")
        ballast.unlink()
    left = [str(p) for p in (disk / "var").rglob("*") if is_half_written(p)]
    told["retrain"] = bkt("retrain", "--json")
    from datasets.store.connections.engines import make_engine
    from tests.flows.support.night_oracle import expected_states, stored_states

    engine = make_engine(f"sqlite:///{disk / 'var' / 'bkt.db'}")
    right = stored_states(engine) == expected_states(engine) != {}
    engine.dispose()
    sys.stdout.write(json.dumps({"told": told, "left": left, "states_are_right": right}))


def fill(file: io.BufferedWriter, disk: Path, room: int) -> None:
    """Write until only `room` bytes are free."""
    free = os.statvfs(disk)
    at_most = free.f_bavail * free.f_frsize - room
    for _ in range(max(at_most, 0) // 4096):
        file.write(bytes(4096))


def bkt(*words: str) -> dict[str, object]:
    """One command: exit code and what it said."""
    from flows.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(words))
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def is_half_written(path: Path) -> bool:
    return path.name.endswith(".tmp") or path.name.startswith(".unfinished-")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

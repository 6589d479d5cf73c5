"""On which addresses a process and its descendants listen, looked at again and again."""

from __future__ import annotations

import os
import threading
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

EVERY_SECONDS = 0.2
_LISTEN = "0A"


class Listeners:
    """Samples in a thread of its own while the block runs; `addresses` is what it saw."""

    def __init__(self, pid: int) -> None:
        self.addresses: set[str] = set()
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Listeners:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            own = {inode for pid in _family(self._pid) for inode in _sockets(pid)}
            self.addresses |= {address for inode, address in _listening() if inode in own}


def _family(pid: int) -> list[int]:
    """The process and everything it started, as far as it still is."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def _sockets(pid: int) -> set[str]:
    inodes = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:
        return inodes
    return inodes


def _listening() -> list[tuple[str, str]]:
    """(inode, address) of every TCP socket of this machine that listens."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTEN:
                found.append((words[9], _address(words[1].partition(":")[0])))
    return found


def _address(text: str) -> str:
    """An address of /proc/net, whose words of four bytes are little-endian."""
    raw = bytes.fromhex(text)
    turned = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(IPv4Address(turned) if len(turned) == 4 else IPv6Address(turned))

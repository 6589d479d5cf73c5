"""A load generator on plain sockets: cheap enough not to hide the server it measures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1e3
#: Seconds: longer than any load.
EVER = 3_600.0
#: Statuses of HTTP from here on refuse.
FIRST_REFUSAL = 400


@dataclass
class Measured:
    """Latencies of one kind of request, in seconds, and how long all of them took."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failures: list[bytes] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return len(self.latencies) / self.seconds

    def quantile_ms(self, q: float) -> float:
        """The latency below which a share `q` of the requests stayed, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(q * len(ordered)), len(ordered) - 1)] * MS

    def add(self, other: Measured) -> None:
        """Take in another round."""
        self.latencies += other.latencies
        self.seconds += other.seconds
        self.failures += other.failures


def post(path: str, token: str, body: bytes) -> bytes:
    """One POST of JSON as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, token: str) -> bytes:
    """One GET as it goes over the wire."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    return head.encode()


async def load(
    port: int, request: Callable[[], bytes], *, clients: int, seconds: float
) -> Measured:
    """Clients that each send the next request when the last one is answered."""
    measured = Measured()
    began = time.perf_counter()
    until = began + seconds
    await asyncio.gather(*(_client(port, request, until, measured) for _ in range(clients)))
    measured.seconds = time.perf_counter() - began
    return measured


async def send_all(port: int, requests: list[bytes], *, clients: int = 1) -> Measured:
    """Every one of these requests once."""
    left = iter(requests)
    measured = Measured()
    began = time.perf_counter()
    until = began + EVER
    await asyncio.gather(
        *(_client(port, lambda: next(left, None), until, measured) for _ in range(clients))
    )
    measured.seconds = time.perf_counter() - began
    return measured


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Send one request over an open connection: the status and the body of its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(_length(head))
    return int(head.split(b" ", 2)[1]), body


async def _client(
    port: int, request: Callable[[], bytes | None], until: float, measured: Measured
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (sent := time.perf_counter()) < until:
            wanted = request()
            if wanted is None:
                return
            status, body = await ask(reader, writer, wanted)
            measured.latencies.append(time.perf_counter() - sent)
            if status >= FIRST_REFUSAL:
                measured.failures.append(body)
    finally:
        writer.close()
        await writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError(f"an answer without a length: {head!r}")

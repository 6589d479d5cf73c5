"""Moments that tests agree on."""

from __future__ import annotations

from datetime import UTC, datetime

STARTED = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)

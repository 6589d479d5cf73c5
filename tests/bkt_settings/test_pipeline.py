"""Every setting of `conf` can be given by its variable, by section and name."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import pytest

from bkt_core.errors import UsageError
from bkt_settings.pipeline import Settings, load_settings
from bkt_settings.reading import CONF_DIR

DEFAULTS = tomllib.loads((CONF_DIR / "default.toml").read_text(encoding="utf-8"))
KEYS = [
    (section, key)
    for section, value in DEFAULTS.items()
    for key in (value if isinstance(value, dict) else [None])
]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BKT_")]:
        monkeypatch.delenv(name)


def held(settings: Settings, section: str, key: str | None) -> Any:
    value = getattr(settings, "imports" if section == "import" else section)
    value = value if key is None else getattr(value, key)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_a_variable_wins_over_the_file(section, key, monkeypatch):
    """What no value of that setting can be is refused; what may be one is taken."""
    before = held(load_settings(), section, key)
    name = "BKT_" + "__".join(part.upper() for part in (section, key) if part)
    monkeypatch.setenv(name, "no such value")
    try:
        after = held(load_settings(), section, key)
    except UsageError:
        return
    assert str(after) == "no such value" != str(before)


def test_a_variable_of_an_import_counts(monkeypatch):
    monkeypatch.setenv("BKT_IMPORT__ALLOWED_SKEW_MINUTES", "3")
    monkeypatch.setenv("IMPORT", "what somebody else calls so")
    assert load_settings().imports.allowed_skew_minutes == 3.0

"""The folder with what an installation is configured by: a checkout, or what the wheel carries.

It holds conf/*.toml, prefect.yaml, prefect.toml, docs/roles.sql, pyproject.toml and
requirements.lock. In a checkout that is its root; a wheel has copies of them (setup.py).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent
#: Where the files lie that are no Python.
HOME = _CHECKOUT if (_CHECKOUT / "conf" / "default.toml").is_file() else _PACKAGE / "installed"

"""The folder with the files that configure an installation: a checkout, or part of the wheel.

It holds conf/*.toml, prefect.yaml, prefect.toml, docs/roles.sql, pyproject.toml and
requirements.lock. In a checkout it is the root; a wheel contains copies of them (setup.py).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent
#: Folder of the files that are not Python.
HOME = _CHECKOUT if (_CHECKOUT / "conf" / "default.toml").is_file() else _PACKAGE / "installed"

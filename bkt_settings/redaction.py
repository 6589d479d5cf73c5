"""Remove secrets from texts."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bkt_settings.pipeline import Settings

#: Parts of names of query parameters whose values are secrets.
_SECRET_WORDS = ("password", "passwd", "token", "secret", "key")
#: Variables of the tools that we use that hold secrets.
_SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
)
#: Shorter secrets are not removed, because they occur in ordinary words.
SHORTEST_SECRET = 3
HIDDEN = "***"


def without_secret(uri: str) -> str:
    """Return the address without user, password and secret query parameters."""
    parts = urlsplit(uri)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(_is_secret(name) for name, _ in query):
        hidden = [(name, HIDDEN if _is_secret(name) else value) for name, value in query]
        parts = parts._replace(query=urlencode(hidden, safe="*"))
        uri = parts.geturl()
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]).geturl()


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Return every secret of the settings and the environment, in each form it may have."""
    found = [
        *secrets_of_address(settings.database),
        *secrets_of_address(settings.extraction_database),
        *secrets_of_address(settings.tracking_uri),
        *secrets_of_address(settings.source_url.get_secret_value()),
        *(key.get_secret_value() for key in settings.serving.token_keys),
        *(os.environ.get(name, "") for name in _SECRET_VARIABLES),
    ]
    long = [secret for secret in found if len(secret) >= SHORTEST_SECRET]
    forms = {
        form
        for secret in long
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])
    }
    return tuple(sorted(forms, key=len, reverse=True))


def hide(text: str, secrets: tuple[str, ...]) -> str:
    """Return the text with every secret replaced."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def secrets_of_address(uri: str) -> Iterator[str]:
    """Yield password and secret query parameters, as written and decoded."""
    parts = urlsplit(uri)
    login = parts.netloc.rpartition("@")[0]
    password = login.partition(":")[2]
    yield password
    yield unquote(password)
    for name, value in parse_qsl(parts.query):
        if _is_secret(name):
            yield value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)

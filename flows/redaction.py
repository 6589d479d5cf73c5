"""Addresses without what they should not tell."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

#: Query parameters whose values are secrets, by a part of their name.
_SECRET_WORDS = ("password", "passwd", "token", "secret", "key")
HIDDEN = "***"


def without_secret(uri: str) -> str:
    """The address without user, password and secret query parameters."""
    parts = urlsplit(uri)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(_is_secret(name) for name, _ in query):
        hidden = [(name, HIDDEN if _is_secret(name) else value) for name, value in query]
        parts = parts._replace(query=urlencode(hidden, safe="*"))
        uri = parts.geturl()
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]).geturl()


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)

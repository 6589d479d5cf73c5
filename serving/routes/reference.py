"""The OpenAPI document as one HTML page without scripts or external resources."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

from serving.routes.reference_style import STYLE

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
#: Nothing may run or be loaded; the only style sheet is allowed by its hash.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def reference_page(document: dict[str, Any]) -> str:
    """Return the page: every operation by tag, then every schema."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(
                _operation(method, path, operation)
            )
    info = document["info"]
    sections = "".join(
        f"<section>{_heading(tag)}{''.join(parts)}</section>" for tag, parts in by_tag.items()
    )
    known = sorted(document["components"]["schemas"].items())
    schemas = "".join(_schema(name, schema) for name, schema in known)
    tags = "".join(
        f'<a href="#{escape(tag)}">{escape(tag.capitalize())}</a>'
        for tag in (*by_tag, "schemas")
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])}</p>"
        f'<nav>{tags}<a href="/openapi.json">openapi.json</a></nav></header>'
        f"<main>{sections}<section>{_heading('schemas')}{schemas}</section></main>"
        "</body></html>"
    )


def _heading(tag: str) -> str:
    return f'<h2 id="{escape(tag)}">{escape(tag.capitalize())}</h2>'


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    name = operation["operationId"]
    parts = [_access(operation)]
    if parameters := operation.get("parameters"):
        rows = [
            _row(
                p["name"],
                f"{_type(p['schema'])} · {p['in']}",
                p["schema"],
                required=p.get("required", False),
            )
            for p in parameters
        ]
        parts.append(f"<h4>Parameters</h4><table>{''.join(rows)}</table>")
    if body := operation.get("requestBody"):
        kinds = [_type(content["schema"]) for content in body["content"].values()]
        parts.append(f"<h4>Body</h4><p>{', '.join(kinds)}</p>")
    answers = "".join(
        f"<tr><th>{escape(status)}</th><td>{_answer(answer)}</td>"
        f"<td>{escape(answer['description'])}</td></tr>"
        for status, answer in sorted(operation["responses"].items())
    )
    parts.append(f"<h4>Responses</h4><table>{answers}</table>")
    return (
        f'<details id="{escape(name)}"><summary><b class="{escape(method)}">'
        f"{escape(method.upper())}</b> <code>{escape(path)}</code> "
        f"<span>{escape(operation.get('summary', ''))}</span></summary>"
        f"{''.join(parts)}</details>"
    )


def _access(operation: dict[str, Any]) -> str:
    if "x-access" not in operation:
        return '<p class="access">No token.</p>'
    roles = ", ".join(
        f"{role} ({'own user only' if reach == 'own' else 'any'})"
        for role, reach in operation["x-access"].items()
    )
    return f'<p class="access">Token of: {escape(roles)}.</p>'


def _answer(answer: dict[str, Any]) -> str:
    return ", ".join(_type(c.get("schema", {})) for c in answer.get("content", {}).values())


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        _row(field, _type(of), of, required=field in required)
        for field, of in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    examples = "".join(
        f"<h4>Example</h4><pre>{escape(json.dumps(one, indent=2))}</pre>"
        for one in schema.get("examples", ())
    )
    return (
        f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3><p>{about}</p>'
        f"<table>{rows}</table>{examples}</article>"
    )


def _row(name: str, kind: str, schema: dict[str, Any], *, required: bool) -> str:
    need = "required" if required else ""
    notes = [escape(schema["description"].rstrip("."))] if "description" in schema else []
    limits = schema
    for choice in schema.get("anyOf", ()):  # limits of `string or null` are with the string
        limits = choice | limits
    notes += [
        f"{label} {escape(str(limits[key]))}" for key, label in _LIMITS.items() if key in limits
    ]
    return (
        f"<tr><th>{escape(name)}</th><td>{kind} <em>{need}</em></td>"
        f"<td>{'; '.join(notes)}</td></tr>"
    )


_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "minItems": "items at least",
    "maxItems": "items at most",
    "default": "default",
    "pattern": "pattern",
}


def _type(schema: dict[str, Any]) -> str:
    """Return the type in words, with links to schemas."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(repr(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(repr(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("type", "anything")))

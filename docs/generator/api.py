"""The reference of the HTTP API, from the OpenAPI document that the server serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.web import openapi
from app.web.server import ROUTES
from generator.docstrings import meanings_of
from generator.markdown import anchor, table
from generator.schemas import type_of

HEAD = """\
# API

JSON over HTTP. This page is made from the OpenAPI 3.1 document that a server serves at `/openapi.json`, which is made
from the table of routes that serves the requests. `/docs` on your server shows the same with examples, and sends
requests with an API key that you paste; it loads nothing from another host and does not store the key.

- **Authentication**: `Authorization: Bearer rk_…`. A key has one scope: `read`, `write` (includes `read`) or `admin`
  (includes both). Make one with `rescind keys create NAME --scope write`. Webhooks prove their origin by their
  endpoint's own [scheme](resources.md#verification-schemes).
- **Lists** are `{"data": […], "has_more": …, "next_cursor": …, "previous_cursor": …}` and take `limit` and `cursor`:
  either cursor, as it is. A search for orders, events or receipts ends after one second: a page with
  `"complete": false` says in `searched_until` how far back it searched, and `next_cursor` continues from there.
- **`text`** of events is words: each part between spaces must stand in an event's values, or in the name of its order,
  from the beginning of a word to the end of one; the last part may end within a word. Case and accents do not matter.
- **Times** are RFC 3339 in UTC.
- **`Idempotency-Key`** (1 to 255 characters) is taken by every POST that creates something. With the same key and body,
  the stored response is returned again; with another body, the response is 422; while the first request is still being
  processed, it is 409.
- **Errors** are RFC 9457 problems; [their types](problems.md) are a closed list.
- Unknown fields and query parameters are errors, and values must have the types stated here (no `0` for `false`).

## Calls
"""


def document() -> str:
    """The whole page."""
    described = openapi.document(ROUTES, "")
    calls = [
        (f"{method.upper()} {path}", operation)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    rows = [(f"[`{title}`](#{anchor(title)})", operation["summary"], _scope(operation)) for title, operation in calls]
    parts = [HEAD, table(("call", "does", "scope"), rows)]
    parts += ["\n".join(_call(title, operation)) for title, operation in calls]
    parts.append("## Schemas\n\nThe objects in requests and responses, by name.")
    parts += [_schema(name, schema) for name, schema in sorted(described["components"]["schemas"].items())]
    return "\n\n".join(parts) + "\n"


def _scope(operation: dict[str, Any]) -> str:
    security = operation["security"]
    return str(security[0]["apiKey"][0]) if security else "the endpoint's own proof"


def _call(title: str, operation: dict[str, Any]) -> Iterator[str]:
    # The description's last paragraph names the scope.
    more = operation["description"].rpartition("\n\n")[0].replace("\n", " ")
    yield f"### `{title}`\n\n{' '.join(filter(None, (operation['summary'], more)))} Scope: {_scope(operation)}.\n"
    parameters = [
        (
            f"`{given['name']}`",
            given["in"],
            type_of(given["schema"]).removesuffix(" or null"),
            _said(given.get("description"), given["schema"]),
        )
        for given in operation.get("parameters", ())
        if given["in"] != "path"
    ]
    if parameters:
        yield table(("parameter", "in", "type", "meaning"), parameters) + "\n"
    if "requestBody" in operation:
        body = operation["requestBody"]
        optional = "" if body.get("required", True) else " (may be absent)"
        kinds = ((kind, type_of(content.get("schema", {}))) for kind, content in body["content"].items())
        yield f"Body: {', '.join(f'{shape} (`{kind}`)' for kind, shape in kinds)}{optional}\n"
    rows = []
    for status, given in operation["responses"].items():
        content: dict[str, Any] = next(iter(given.get("content", {}).values()), {})
        rows.append((status, type_of(content["schema"]) if content else "", given["description"]))
    yield table(("status", "body", "meaning"), sorted(rows))


def _schema(name: str, schema: dict[str, Any]) -> str:
    parts, said = [f"### {name}"], meanings_of(name.partition("_")[0])
    if "description" in schema:
        parts.append(str(schema["description"]))
    required = schema.get("required", ())
    rows = [
        (
            f"`{field}`",
            type_of(given),
            "yes" if field in required else "",
            _said(given.get("description") or said.get(field), given),
        )
        for field, given in schema.get("properties", {}).items()
    ]
    parts.append(table(("field", "type", "required", "meaning"), rows) if rows else f"Type: {type_of(schema)}.")
    return "\n\n".join(parts)


def _said(text: str | None, schema: dict[str, Any]) -> str:
    """A description, with the default and the bounds."""
    default = schema.get("default")
    shown = default is not None and default is not False and default not in ("", (), [], {})
    bounds = [f"default `{str(default).lower() if default is True else default}`"] if shown else []
    for name, word in (("minimum", "at least"), ("maximum", "at most"), ("maxLength", "at most")):
        if name in schema:
            bounds.append(f"{word} {schema[name]}{' characters' if name == 'maxLength' else ''}")
    return " ".join(filter(None, (text, f"({', '.join(bounds)})" if bounds else "")))

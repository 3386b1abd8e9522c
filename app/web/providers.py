"""Providers: what an account at each of them is configured with."""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec import Struct
from pydantic import BaseModel

from app.config.registry import handlers
from app.contract import Handler
from app.web import resources
from app.web.examples import example
from app.web.pages import NamedPageQuery, named_page
from app.web.routes import AccountCheck, Call, RouteTable

ROUTES = RouteTable(resources.TAGS["accounts"])


class Provider(Struct, kw_only=True):
    """A provider that accounts can be at, as its handler knows it."""

    name: str
    """As an account's `provider` names it."""
    title: str
    docs: tuple[str, ...]
    """Where the provider documents its API."""
    config: dict[str, Any]
    """JSON Schema of an account's `config`: the settings with their descriptions and defaults. Secrets are
    `writeOnly`."""
    rules: dict[str, Any]
    """JSON Schema of an account's `rules`."""
    limits: dict[str, Any]
    """The limits of calls that hold unless an account has its own."""
    probes: bool
    """Whether orders can be asked for at the provider."""
    registers: bool
    """Whether webhooks can be registered through its API, by accounts whose config says how where it must."""


class Providers(Struct):
    """A page of providers, by name."""

    data: list[Provider]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None


_EXAMPLE = Provider(
    name="planomatic",
    title="PlanOmatic",
    docs=("https://developers.planomatic.example",),
    config={
        "properties": {"api_key": {"type": "string", "format": "password", "writeOnly": True}},
        "required": ["api_key"],
        "type": "object",
    },
    rules={"properties": {}, "type": "object"},
    limits={"requests": 100, "per_s": 60.0, "concurrency": 4},
    probes=True,
    registers=False,
)
example(Providers([_EXAMPLE]))


@ROUTES.get("/v1/providers", account_check=AccountCheck.HANDLER)
async def list_providers(call: Call, query: NamedPageQuery) -> Providers:  # noqa: ARG001 - what every key may know
    """Providers that accounts can be at, and what their accounts are configured with."""
    known = handlers()
    named = named_page(sorted(known), query)
    shown = [_provider(known[name]) for name in named.ids]
    return Providers(shown, named.has_more, named.next_cursor, named.previous_cursor)


def _provider(handler: Handler) -> Provider:
    return Provider(
        name=handler.name,
        title=handler.title,
        docs=tuple(handler.docs),
        config=_schema(handler.config),
        rules=_schema(handler.rules),
        limits=handler.limits.model_dump(exclude_none=True),
        probes=handler.probe is not None,
        registers=handler.register is not None,
    )


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()

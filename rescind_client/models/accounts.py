"""Classes of accounts."""

from __future__ import annotations

from typing import Any

from rescind_client.model import Model


class Resources(Model, kw_only=True):
    """A page of resources."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None


class Provider(Model, kw_only=True):
    """A provider that accounts can be at, as its handler knows it."""

    name: str
    """As an account's `provider` names it."""
    title: str
    docs: list[str]
    """Where the provider documents its API."""
    config: dict[str, Any]
    """JSON Schema of an account's `config`: the settings with their descriptions and defaults. Secrets are
    `writeOnly`.
    """
    rules: dict[str, Any]
    """JSON Schema of an account's `rules`."""
    limits: dict[str, Any]
    """The limits of calls that hold unless an account has its own."""
    probes: bool
    """Whether orders can be asked for at the provider."""
    registers: bool
    """Whether webhooks can be registered through its API, by accounts whose config says how where it must."""


class Providers(Model, kw_only=True):
    """A page of providers, by name."""

    data: list[Provider]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None

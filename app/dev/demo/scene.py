"""What a chapter has at hand, and the shape that all chapters have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.dev.demo.cast import PLANOMATIC, Cast, Json
from app.dev.demo.clients import Provider, Rescind
from app.dev.demo.report import Report
from app.dev.demo.stage import Stage
from app.dev.demo.voice import Voice

LIMIT = 100
"""PlanOmatic's documented limit; its window is the stage's."""


@dataclass(slots=True)
class Scene:
    """The two sides, the one who tells, and the table: for one chapter."""

    stage: Stage
    cast: Cast
    rescind: Rescind
    provider: Provider
    voice: Voice
    report: Report
    number: int
    """Of the chapter."""

    def claim(self, what: str, expected: object, seen: object, *, ok: bool | None = None) -> None:
        """Put a claim to the test; see `Report.add`."""
        self.report.add(self.number, what, expected, seen, ok=ok)

    async def enlist(self, config: Json, *, verify: Json | None = None, kept: bool = False, **more: Any) -> None:
        """Make the provider's account, and with `verify` its endpoint; told. `more` is the account's besides."""
        account = {"id": self.cast.account, "provider": self.cast.provider, **more}
        account["config"] = {"base_url": self.provider.base_url, **config}
        resources: Json = {"accounts": [account]}
        if verify is not None:
            endpoint = {"id": self.cast.endpoint, "account": self.cast.account, "verify": verify}
            resources["endpoints"] = [{**endpoint, "keep_registered": True} if kept else endpoint]
        await self.rescind.apply(resources)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the story."""

    title: str
    text: str
    """What happens, and why it matters."""
    play: Callable[[Scene], Awaitable[None]]
    cast: Cast = PLANOMATIC

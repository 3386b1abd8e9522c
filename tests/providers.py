"""What tests use as the provider: the sandbox, served for real; and how tests wait.

Nothing waits by sleeping for a while: `until` polls for a condition. What must happen while a call is out is arranged
by `Side.hold`: the call stays out until `release`, however fast or slow the machine is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import aiohttp

from app.dev.sandbox import Runner, start_sandbox
from handlers.planomatic.simulator import PlanOmatic

PROVIDER_KEY = "planomatic-key-0123456789"
CANCEL_PATH = "/api/v3/orders/cancel"
RETRIEVE_PATH = "/api/v3/orders/retrieve"
WAIT_S = 60.0
"""This only ends what hangs: no test passes or fails by it on a machine that is busy."""
HELD_S = 3600.0
"""A fault of so many seconds lasts until it is released."""

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], what: str = "the condition", wait_s: float = WAIT_S) -> T:
    """Ask `look` again and again until its answer is true; returns that answer."""
    deadline = time.monotonic() + wait_s
    while not (found := await look()):
        assert time.monotonic() < deadline, f"{what} did not come about within {wait_s:g} s; at the end: {found!r}"
        await asyncio.sleep(0.005)
    return found


class Gate:
    """Where calls wait until the test lets them pass."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self.catching = False
        """Whoever comes next must wait."""
        self.held = 0
        """How many wait now."""

    async def sleep(self, seconds: float) -> None:
        """What the sandbox waits by."""
        caught, self.catching = self.catching, False
        if seconds < HELD_S and not caught:
            await asyncio.sleep(seconds)
            return
        self.held += 1
        try:
            await self._opened.wait()
        finally:
            self.held -= 1

    def open(self, *, for_good: bool = False) -> None:
        """Let everything pass that waits now, or from now on."""
        self._opened.set()
        if not for_good:
            self._opened = asyncio.Event()


class Side:
    """The sandbox with one simulated provider: its side of what happens."""

    def __init__(
        self, name: str, runner: Runner, session: aiohttp.ClientSession, simulator: Any, gate: Gate | None = None
    ) -> None:
        self.name, self.simulator = name, simulator
        self._runner, self._session, self._gate = runner, session, gate or Gate()

    @classmethod
    async def begin(cls, name: str, simulator: Any, *, port: int = 0) -> Self:
        gate = Gate()
        runner = await start_sandbox(port=port, simulators={name: simulator}, sleep=gate.sleep)
        return cls(name, runner, aiohttp.ClientSession(), simulator, gate)

    async def close(self) -> None:
        self._gate.open(for_good=True)
        await self._session.close()
        await self._runner.close()

    @property
    def url(self) -> str:
        """What an account's `base_url` is."""
        return f"{self._runner.url}/{self.name}"

    async def act(self, do: str, **more: Any) -> dict[str, Any]:
        """Let something happen on the provider's side."""
        return dict(await self._control("POST", "act", {"do": do, **more}))

    async def aim(self, url: str, **headers: str) -> None:
        """Let webhooks go there."""
        await self._control("PUT", "webhooks", {"url": url, "headers": headers})

    async def fault(self, fault: str, path: str | None = None, **more: Any) -> None:
        """Let something go wrong with the next call, or the next `times` calls."""
        await self._control("POST", "faults", {"fault": fault, "path": path, **more})

    async def hold(self, *, processed: str = "before", **more: Any) -> None:
        """Keep the next call, or the next `times` calls, from being answered until `release`.

        The provider does what it is asked `before` it is held, or `after`.
        """
        await self.fault("delay", seconds=HELD_S, processed=processed, **more)

    async def catch(self) -> None:
        """Wait for a call that would be answered late, and keep it from being answered until `release`."""
        self._gate.catching = True
        await until(lambda: asyncio.sleep(0, self._gate.held > 0), "a call to hold")

    def release(self, *, cut_off: bool = False) -> None:
        """Let the calls go on that are held now; there must be one (`arrived`), or it would be held for ever.

        Args: cut_off: whoever called may be gone, and the provider may know it already.
        """
        assert self._gate.held or cut_off
        self._gate.open()

    async def mend(self) -> None:
        """Nothing goes wrong any more."""
        await self._control("DELETE", "faults", None)

    async def calls(self, path: str | None = None, order: str | None = None) -> list[dict[str, Any]]:
        """What arrived, oldest first."""
        found = (await self._control("GET", "calls", None))["data"]
        return [each for each in found if path in (None, each["path"]) and order in (None, each["order"])]

    async def arrived(self, number: int = 1, path: str | None = None, order: str | None = None) -> None:
        """Wait until so many calls have arrived."""

        async def look() -> bool:
            return len(await self.calls(path, order)) >= number

        await until(look, f"{number} calls to {path}")

    async def book(self, order: str) -> dict[str, Any]:
        """The provider's own books on an order, with `status`, `cancel_calls` and `cancel_effects`."""
        return dict((await self.act("list", order_id=order))["orders"][0])

    async def effects(self, order: str) -> int:
        """How often a call of ours canceled the order."""
        return int((await self.book(order))["cancel_effects"])

    async def status(self, order: str) -> str:
        return str((await self.book(order))["status"])

    async def _control(self, method: str, what: str, body: Any) -> Any:
        url = f"{self._runner.url}/_sandbox/{self.name}/{what}"
        async with self._session.request(method, url, json=body) as answer:
            found = await answer.json()
            assert answer.status < 300, found
            return found


class Provider(Side):
    """A simulated PlanOmatic that knows `PROVIDER_KEY`."""

    @classmethod
    async def start(cls, *, port: int = 0, **options: Any) -> Self:
        simulator = PlanOmatic(api_keys=(PROVIDER_KEY,), **{"requests": 1_000_000, **options})
        return await cls.begin("planomatic", simulator, port=port)

    async def create(self, *orders: str) -> None:
        """Orders that may be canceled."""
        for order in orders:
            await self.act("create_order", order_id=order, request_id=f"r-{order}", silent=True)

    async def fault(self, fault: str, path: str | None = CANCEL_PATH, **more: Any) -> None:
        await super().fault(fault, path, **more)

    async def calls(self, path: str | None = CANCEL_PATH, order: str | None = None) -> list[dict[str, Any]]:
        return await super().calls(path, order)

    async def arrived(self, number: int = 1, path: str | None = CANCEL_PATH, order: str | None = None) -> None:
        await super().arrived(number, path, order)

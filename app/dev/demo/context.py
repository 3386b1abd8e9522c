"""What each chapter has at hand: clients of Rescind and of the sandbox for one provider, the console and the claims."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from app.dev.demo.console import Console, Report
from app.dev.demo.processes import Processes, WaitedInVainError, until
from app.dev.demo.providers import Json, Provider
from app.dev.demo.receiver import Receiver

YOU = "you > Rescind"
PAGE = 500
AT_ONCE = 16
"""How many cancel requests the demo has open at a time."""
SETTLED_WAIT_S = 180.0
POLL_S = 0.2
HELD_S = 3600.0
"""The delay of a response that is held until the faults are removed: however slow the machine is, it is not early."""
NO_RESPONSE = {"reset_after": "connection reset", "delay": "no response in time"}
"""Faults after which the caller gets no response in time."""


class UnexpectedResponseError(Exception):
    """A call that must succeed did not."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response; the body is decoded JSON."""

    status: int
    body: Any

    @property
    def summary(self) -> str:
        """What the body reports, in a few words: the type of a problem or an event, changes, a verdict, a state."""
        if changes := self.body.get("changes"):
            return ", ".join(f"{change['action']} {change['kind']}/{change['id']}" for change in changes)
        if verdict := self.body.get("phase") and self.body["verdict"]:
            return f"{self.body['phase']}, {verdict['cancelable']} ({verdict['reason']})"
        words = (self.body.get(key) for key in ("type", "state", "status"))
        return next((str(word).rpartition(":")[2] for word in words if word), "")


@dataclass(slots=True)
class Context:
    """What every chapter has at hand."""

    processes: Processes
    console: Console
    report: Report
    http: aiohttp.ClientSession
    receiver: Receiver
    """Where subscriptions send."""
    chapter: int = 0
    """The number of the chapter that is running."""

    def at(self, provider: Provider) -> tuple[Rescind, Sandbox]:
        """Both sides of one provider."""
        return Rescind(self, provider), Sandbox(self, provider)

    def claim(self, what: str, expected: object, seen: object, *, ok: bool | None = None) -> None:
        """Check a claim; see `Report.add`."""
        self.report.add(self.chapter, what, expected, seen, ok=ok)

    async def request(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Response:
        """Make one HTTP call."""
        async with self.http.request(method, url, data=data, headers=headers) as response:
            raw = await response.read()
            return Response(response.status, msgspec.json.decode(raw) if raw else {})


class Rescind:
    """Rescind's HTTP API, for the account of one provider."""

    def __init__(self, context: Context, provider: Provider) -> None:
        self._context, self._provider = context, provider
        self._console, self._server_url = context.console, context.processes.server_url
        self._token = context.processes.webhook_token

    async def call(self, method: str, path: str, body: Any = None) -> Response:
        """Call the API with the API key."""
        headers = {"Authorization": f"Bearer {self._context.processes.api_key}"}
        data = None if body is None else msgspec.json.encode(body)
        return await self._context.request(method, self._server_url + path, headers, data)

    async def get(self, path: str) -> Json:
        """The resource at `path`."""
        return dict(_checked(await self.call("GET", path), f"GET {path}"))

    async def when(self, path: str, accepted: Callable[[Json], Any], what: str) -> Any:
        """What `accepted` returns for the resource at `path`, as soon as that is true; `what` names it in an error."""

        async def look() -> Any:
            response = await self.call("GET", path)
            missing = response.status == HTTPStatus.NOT_FOUND
            return None if missing else accepted(_checked(response, f"GET {path}"))

        return await until(look, what, f"server.log, GET {path}")

    async def rows(self, path: str) -> list[Json]:
        """All rows of a list, page by page."""
        rows: list[Json] = []
        cursor = ""
        while True:
            page = await self.get(f"{path}{'&' if '?' in path else '?'}limit={PAGE}{cursor}")
            rows += page["data"]
            if not page["has_more"]:
                return rows
            cursor = f"&cursor={page['next_cursor']}"

    async def call_aloud(self, method: str, path: str, body: Any = None, note: str = "") -> Response:
        """`call`, and print it; `note` replaces the summary of the response."""
        response = await self.call(method, path, body)
        self._console.call(YOU, f"{method} {path}", response.status, note or response.summary)
        return response

    async def deliver(self, webhook: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """Deliver a webhook, with the token and its own headers."""
        proof = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(headers or {})}
        return await self._context.request("POST", self._server_url + self._provider.webhook_path, proof, webhook)

    async def deliver_to(self, url: str, webhook: bytes) -> Response:
        """Deliver a webhook to a URL that holds its token, and print it."""
        response = await self._context.request("POST", url, {"Content-Type": "application/json"}, webhook)
        self.show_webhook(response.status, response.summary, caller="somebody", path=urlsplit(url).path)
        return response

    async def deliver_aloud(
        self, webhook: bytes, headers: Mapping[str, str] | None, kind: str, caller: str = ""
    ) -> Response:
        """Deliver a webhook, and print it; `kind` says what it reports."""
        response = await self.deliver(webhook, headers)
        self.show_webhook(response.status, f"{response.summary}: {kind}", caller=caller)
        return response

    def show_webhook(self, status: object, note: str, number: int = 1, caller: str = "", path: str = "") -> None:
        """Print that a webhook came in, or a number of them; by default to the provider's first endpoint."""
        call = f"POST {path or self._provider.webhook_path}"
        caller = f"{caller or self._provider.title} > Rescind"
        self._console.call(caller, call if number == 1 else f"{number} x {call}", status, note)

    async def request_cancel(self, order: str, body: Json | None = None) -> Response:
        """Request the cancel of an order, and print the call."""
        return await self.call_aloud("POST", f"{self.path(order)}/cancellations", body or self._provider.cancel)

    async def cancel(self, order: str) -> str:
        """Request the cancel of an order, which must be accepted; returns the cancellation's id."""
        response = await self.request_cancel(order)
        return str(_checked(response, f"the cancel request for order {order}")["id"])

    async def cancel_all(self, orders: Sequence[str], note: str = "all scheduled") -> list[str]:
        """Request the cancel of all these orders; returns the ids of the cancellations."""
        room = asyncio.Semaphore(AT_ONCE)

        async def cancel(order: str) -> str:
            path = f"{self.path(order)}/cancellations"
            async with room:
                response = await self.call("POST", path, self._provider.cancel)
            return str(_checked(response, f"POST {path}")["id"])

        ids = list(await asyncio.gather(*map(cancel, orders)))
        self._console.call(YOU, f"{len(ids)} x POST .../cancellations", HTTPStatus.ACCEPTED.value, note)
        return ids

    async def show(self, order: str) -> Json:
        """An order; prints its phase and verdict."""
        return dict((await self.call_aloud("GET", self.path(order))).body)

    async def with_verdict(self, order: str, cancelable: str = "yes") -> None:
        """Wait until the verdict of an order is this one."""
        what = f"order {order} to be cancelable: {cancelable}"
        await self.when(self.path(order), lambda row: row["verdict"]["cancelable"] == cancelable, what)

    async def evidence(self, rejection: Response) -> str:
        """The types of the events that a rejection names as evidence; prints them."""
        ids = (rejection.body.get("verdict") or {}).get("evidence", ())
        types = [(await self.call_aloud("GET", f"/v1/events/{id}")).body["type"] for id in ids]
        self._console.note(str(rejection.body.get("detail")))
        return ", ".join(types)

    async def settled(self, id: str) -> Json:
        """A cancellation, as soon as its state is final."""
        path, what = f"/v1/cancellations/{id}", f"cancellation {id} to end"
        return dict(await self.when(path, lambda row: row if row["final"] else None, what))

    async def all_settled(self, ids: Sequence[str]) -> list[Json]:
        """These cancellations, as soon as all are final; as they are by then if that takes too long.

        A claim shows better than an error which of them are not.
        """
        rows: list[Json] = []
        with self._console.waiting("Waiting for the cancellations to end") as progress:

            async def look() -> bool:
                listed = await self.rows(f"/v1/cancellations?account={self._provider.account}")
                rows[:] = [row for row in listed if row["id"] in set(ids)]
                final = sum(bool(row["final"]) for row in rows)
                progress(f"{final} of {len(ids)} done")
                return final == len(ids)

            try:
                what = f"{len(ids)} cancellations to end"
                await until(look, what, "GET /v1/cancellations", SETTLED_WAIT_S, POLL_S)
            except WaitedInVainError as error:
                self._console.note(f"Continuing without them: {error}")
        return rows

    async def events(self, order: str) -> list[Json]:
        """The events of an order, oldest first."""
        return (await self.rows(f"/v1/events?account={self._provider.account}&order={order}"))[::-1]

    async def received(self, order: str, *types: str) -> None:
        """Wait until webhooks of these event types about an order have come in, and print them."""
        path = f"/v1/events?account={self._provider.account}&order={order}&limit={PAGE}"
        for type in types:

            def receipt(page: Json, type: str = type) -> str | None:
                return next((row["receipt"] for row in page["data"] if row["type"] == type and row["receipt"]), None)

            id = await self.when(path, receipt, f"the webhook {type} about order {order}")
            self.show_webhook(HTTPStatus.OK.value, f"{(await self.get(f'/v1/receipts/{id}'))['status']}: {type}")

    def path(self, order: str) -> str:
        """The path of an order."""
        return f"/v1/accounts/{self._provider.account}/orders/{order}"


class Sandbox:
    """The sandbox's controls of one provider."""

    def __init__(self, context: Context, provider: Provider) -> None:
        self._context, self._provider = context, provider
        self.base_url = f"{context.processes.sandbox_url}/{provider.name}"

    async def act(self, do: str, **more: Any) -> Json:
        """Let something happen at the provider."""
        return await self._control("POST", "act", {"do": do, **more})

    async def act_aloud(self, do: str, **more: Any) -> Json:
        """`act`, and print it."""
        done = await self.act(do, **more)
        subject = done.get("order_id") or more.get("topic")
        path = f"/_sandbox/{self._provider.name}/act"
        note = f"{do}: {subject}" if subject else do
        self._context.console.call("you > sandbox", f"POST {path}", HTTPStatus.OK.value, note)
        return done

    async def place(self, **more: Any) -> str:
        """Place an order, and print it; returns its id as the webhooks name it."""
        placed = await self.act_aloud("create_order", **self._provider.new_order, **more)
        return str(placed[self._provider.order_key])

    async def place_many(self, number: int) -> list[str]:
        """Place orders; returns their ids."""
        return [str((await self.act("create_order"))["order_id"]) for _ in range(number)]

    async def inject(self, fault: str, **more: Any) -> None:
        """Let the next cancel call fail (or the next call to another `path`, or the next `times` calls)."""
        await self._control("POST", "faults", {"fault": fault, "path": self._provider.cancel_path, **more})

    async def clear_faults(self) -> None:
        """Remove all faults; responses that are held are sent."""
        await self._control("DELETE", "faults")

    async def send_webhooks(self) -> None:
        """Send webhooks to Rescind from now on, those that were held first."""
        processes = self._context.processes
        url, headers = processes.server_url + self._provider.webhook_path, {}
        if "verify" not in (self._provider.endpoint or {}):
            headers["Authorization"] = f"Bearer {processes.webhook_token}"
        await self._control("PUT", "webhooks", {"url": url, "headers": headers})

    async def paste(self, url: str) -> None:
        """Send webhooks to this URL from now on, as if it had been entered at the provider."""
        await self._control("PUT", "webhooks", {"url": url, "headers": {}})

    async def hold_webhooks(self) -> None:
        """Hold webhooks in the sandbox from now on."""
        await self._control("PUT", "webhooks", {"url": None})

    async def take_webhooks(self) -> list[tuple[bytes, Json]]:
        """Take out the webhooks that are held, oldest first: body and headers; then send webhooks again."""
        held = await self.drain_webhooks()
        await self.send_webhooks()
        return held

    async def drain_webhooks(self) -> list[tuple[bytes, Json]]:
        """Take out the webhooks that are held, and hold those that follow."""
        held = (await self._control("GET", "webhooks"))["data"]
        return [(row["body"].encode(), row["headers"]) for row in held]

    async def calls(self, order: str | None = None, path: str | None = None) -> list[Json]:
        """The calls that arrived at the provider, oldest first: of one order, to one path, or all."""
        calls: list[Json] = (await self._control("GET", "calls"))["data"]
        return [call for call in calls if order in (None, call["order"]) and path in (None, call["path"])]

    def show(self, calls: list[Json], notes: Mapping[str, str] = NO_RESPONSE) -> list[Json]:
        """Print calls, with `notes` on their faults; returns them."""
        for call in calls:
            status = self.outcome(call) if notes is NO_RESPONSE else call["status"]
            self.show_line(f"{call['method']} {call['path']}", status, notes.get(call["fault"], ""))
        return calls

    @staticmethod
    def outcome(call: Json) -> str:
        """The status of the response that the caller got; `-` if it got none."""
        return "-" if call["fault"] in NO_RESPONSE else str(call["status"])

    def show_line(self, call: str, status: object, note: str = "") -> None:
        """Print one call of Rescind's to the provider, or several of the same kind."""
        self._context.console.call(f"Rescind > {self._provider.title}", call, status, note)

    async def orders(self) -> dict[str, Json]:
        """The provider's books: every order by its id."""
        return {str(row[self._provider.order_key]): row for row in (await self.act("list"))["orders"]}

    async def _control(self, method: str, what: str, body: Json | None = None) -> Json:
        path = f"/_sandbox/{self._provider.name}/{what}"
        data = None if body is None else msgspec.json.encode(body)
        response = await self._context.request(method, self._context.processes.sandbox_url + path, {}, data)
        return dict(_checked(response, f"{method} {path} (sandbox)"))


def _checked(response: Response, call: str) -> Any:
    if response.status >= HTTPStatus.BAD_REQUEST:
        detail = response.body.get("detail") or response.body.get("error") or response.body
        raise UnexpectedResponseError(f"{call} got the response {response.status}: {detail}")
    return response.body

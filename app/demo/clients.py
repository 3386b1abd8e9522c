"""The two that the demo talks to over HTTP: Rescind, and the sandbox's PlanOmatic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from app.demo.stage import Stage, until
from app.demo.voice import Voice

ACCOUNT, ENDPOINT = "acme", "acme-in"
CANCEL_PATH, PROBE_PATH = "/api/v3/orders/cancel", "/api/v3/orders/retrieve"
WISH = {"reason": "client_requested_cancelation", "note": "The client no longer wants it."}
TIMEOUT_S = 20.0
PAGE = 500

YOU, PROVIDER, RESCIND = "you > Rescind", "PlanOmatic > Rescind", "Rescind > PlanOmatic"

Json = dict[str, Any]


class UnexpectedAnswerError(Exception):
    """A call that must work was answered otherwise."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the HTTP status, and the body read as JSON."""

    status: int
    body: Any


@asynccontextmanager
async def clients(stage: Stage, voice: Voice) -> AsyncIterator[tuple[Rescind, Provider]]:
    """Both clients, for as long as the block runs."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Rescind(stage, session, voice), Provider(stage, session, voice)


class Rescind:
    """Rescind's HTTP interface. With `show` a call is told as it is made."""

    def __init__(self, stage: Stage, session: aiohttp.ClientSession, voice: Voice) -> None:
        self._stage, self._session, self._voice = stage, session, voice

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """One call to the API, with the API key."""
        headers = {"Authorization": f"Bearer {self._stage.secrets.api_key}"}
        return await self._send(method, path, headers, None if body is None else msgspec.json.encode(body))

    async def get(self, path: str) -> Json:
        """What is at `path`, which must be there."""
        return dict(_fine(await self.ask("GET", path), f"GET {path}"))

    async def everything(self, path: str) -> list[Json]:
        """All rows of a list, page by page."""
        rows: list[Json] = []
        cursor = ""
        while True:
            page = await self.get(f"{path}{'&' if '?' in path else '?'}limit={PAGE}{cursor}")
            rows += page["data"]
            if not page["has_more"]:
                return rows
            cursor = f"&cursor={page['next_cursor']}"

    async def deliver(self, webhook: bytes, *, token: str | None = None) -> Reply:
        """Bring a webhook, as PlanOmatic's postman."""
        headers = {
            "Authorization": f"Bearer {token or self._stage.secrets.hook_token}",
            "Content-Type": "application/json",
        }
        return await self._send("POST", f"/webhooks/{ENDPOINT}", headers, webhook)

    async def bring(self, webhook: bytes, *, token: str | None = None) -> Reply:
        """`deliver`, told."""
        reply = await self.deliver(webhook, token=token)
        said = slug(reply) or reply.body.get("status")
        event = msgspec.json.decode(webhook)["event"]
        self._voice.call(PROVIDER, f"POST /webhooks/{ENDPOINT}", reply.status, f"{said}: {event}")
        return reply

    async def wish(self, order: str) -> Reply:
        """Ask for an order to be canceled."""
        return await self.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/{order}/cancellations", WISH)

    async def cancel(self, order: str, *, aloud: bool = False) -> str:
        """Ask for an order to be canceled, which must be taken on; returns the cancellation's id."""
        path = f"/v1/accounts/{ACCOUNT}/orders/{order}/cancellations"
        reply = await self.wish(order)
        if aloud:
            self._voice.call(YOU, f"POST {path}", reply.status, slug(reply) or reply.body["state"])
        return str(_fine(reply, f"POST {path}")["id"])

    async def order(self, order: str) -> Json | None:
        """An order; None if nothing was heard of it."""
        path = f"/v1/accounts/{ACCOUNT}/orders/{order}"
        reply = await self.ask("GET", path)
        return None if reply.status == HTTPStatus.NOT_FOUND else dict(_fine(reply, f"GET {path}"))

    async def known(self, order: str) -> Json:
        """An order, as soon as its first webhook has come in."""
        return await until(lambda: self.order(order), f"a webhook about order {order}", "sandbox.log, server.log")

    async def cancellations(self, ids: Sequence[str]) -> dict[str, Json]:
        """These cancellations, by id."""
        rows = await self.everything(f"/v1/cancellations?account={ACCOUNT}")
        wanted = set(ids)
        return {row["id"]: row for row in rows if row["id"] in wanted}

    async def settled(self, id: str) -> Json:
        """A cancellation, as soon as it is in a final state."""

        async def look() -> Json | None:
            known = await self.get(f"/v1/cancellations/{id}")
            return known if known["final"] else None

        return await until(look, f"cancellation {id} to end", f"server.log and GET /v1/cancellations/{id}")

    async def events(self, order: str) -> list[Json]:
        """The events of an order, oldest first."""
        return (await self.everything(f"/v1/events?account={ACCOUNT}&order={order}"))[::-1]

    async def states(self, order: str) -> list[str]:
        """The states that the order's cancellation went through."""
        types = [event["type"] for event in await self.events(order)]
        return [type.removeprefix("cancellation.") for type in types if type.startswith("cancellation.")]

    async def heard(self, order: str, type: str) -> Json:
        """The webhook of that type about an order, as soon as it has come in; told."""

        async def look() -> Json | None:
            events = await self.events(order)
            return next((each for each in events if (each["type"], each["source"]) == (type, "webhook")), None)

        event = await until(look, f"the webhook {type} about order {order}", "sandbox.log and GET /v1/events")
        receipt = await self.get(f"/v1/receipts/{event['receipt']}")
        # The sandbox keeps no log of the answers; that it was taken is in Rescind's own.
        self._voice.call(PROVIDER, f"POST /webhooks/{ENDPOINT}", "200", f"{receipt['status']}: {type}")
        return event

    async def ready(self) -> bool:
        """Does the server answer, and can it take work?"""
        try:
            return (await self.ask("GET", "/readyz")).status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    async def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Reply:
        url = self._stage.server_url + path
        async with self._session.request(method, url, data=data, headers=headers) as answer:
            raw = await answer.read()
            return Reply(answer.status, msgspec.json.decode(raw) if raw else {})


class Provider:
    """The sandbox: PlanOmatic's side, moved by hand."""

    def __init__(self, stage: Stage, session: aiohttp.ClientSession, voice: Voice) -> None:
        self._stage, self._session, self._voice = stage, session, voice

    @property
    def base_url(self) -> str:
        """What the account's `base_url` is."""
        return f"{self._stage.sandbox_url}/planomatic"

    async def act(self, do: str, **more: Any) -> Json:
        """Let something happen at PlanOmatic."""
        return await self._control("POST", "act", {"do": do, **more})

    async def place(self) -> str:
        """A new order, told; returns its id."""
        order = await self._place()
        self._voice.call("you > sandbox", "POST /_sandbox/planomatic/act", HTTPStatus.OK, f"create_order: {order}")
        return order

    async def place_many(self, number: int) -> list[str]:
        """New orders; returns their ids."""
        return [await self._place() for _ in range(number)]

    async def befall(self, fault: str, **more: Any) -> None:
        """Let something go wrong with the next cancel call, or the next `times` of them."""
        await self._control("POST", "faults", {"fault": fault, "path": CANCEL_PATH, **more})

    async def mend(self) -> None:
        """Nothing goes wrong any more."""
        await self._control("DELETE", "faults")

    async def send_webhooks(self) -> None:
        """Webhooks go to Rescind, those that were kept first."""
        headers = {"Authorization": f"Bearer {self._stage.secrets.hook_token}"}
        await self._control(
            "PUT", "webhooks", {"url": f"{self._stage.server_url}/webhooks/{ENDPOINT}", "headers": headers}
        )

    async def keep_webhooks(self) -> None:
        """Webhooks stay in the sandbox for now."""
        await self._control("PUT", "webhooks", {"url": None})

    async def take_webhooks(self) -> list[bytes]:
        """Take out the webhooks that were kept, oldest first."""
        return [each["body"].encode() for each in (await self._control("GET", "webhooks"))["data"]]

    async def calls(self, order: str | None = None, path: str | None = None) -> list[Json]:
        """The calls that arrived at PlanOmatic, oldest first: of one order, of one path, or all."""
        calls: list[Json] = (await self._control("GET", "calls"))["data"]
        return [each for each in calls if order in (None, each["order"]) and path in (None, each["path"])]

    async def show_calls(self, order: str) -> list[Json]:
        """The calls about an order, told."""
        calls = await self.calls(order)
        for call in calls:
            note = {"reset_after": "connection reset", "delay": "no answer in time"}.get(call["fault"] or "", "")
            status = "-" if note else call["status"]
            self._voice.call(RESCIND, f"{call['method']} {call['path']}", status, note)
        return calls

    async def orders(self) -> dict[str, Json]:
        """PlanOmatic's own books: every order by its id."""
        return {str(each["order_id"]): each for each in (await self.act("list"))["orders"]}

    async def book(self, order: str) -> Json:
        """One order in PlanOmatic's books."""
        return (await self.orders())[order]

    async def _place(self) -> str:
        return str((await self.act("create_order"))["order_id"])

    async def _control(self, method: str, what: str, body: Json | None = None) -> Json:
        path = f"/_sandbox/planomatic/{what}"
        async with self._session.request(method, self._stage.sandbox_url + path, json=body) as answer:
            reply = Reply(answer.status, msgspec.json.decode(await answer.read()))
        return dict(_fine(reply, f"{method} {path} (sandbox)"))


def slug(reply: Reply) -> str:
    """The last part of a problem's type."""
    return str(reply.body.get("type", "")).rpartition(":")[2]


def _fine(reply: Reply, call: str) -> Any:
    if reply.status >= HTTPStatus.BAD_REQUEST:
        said = reply.body.get("detail") or reply.body.get("error") or reply.body
        raise UnexpectedAnswerError(f"{call} was answered {reply.status}: {said}")
    return reply.body

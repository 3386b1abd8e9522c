"""The two that the demo talks to over HTTP: Rescind, and the sandbox's side of one provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from app.dev.demo.cast import SANDBOX, YOU, Cast, Json
from app.dev.demo.stage import Stage, until
from app.dev.demo.voice import Voice

TIMEOUT_S = 90.0
PAGE = 500
UNANSWERED = {"reset_after": "connection reset", "delay": "no answer in time"}
"""What the caller sees of faults in which no answer reaches it."""


class UnexpectedAnswerError(Exception):
    """A call that must work was answered otherwise."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the HTTP status, and the body read as JSON."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that the sandbox kept: what a provider's postman carries."""

    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def clients(stage: Stage, voice: Voice) -> AsyncIterator[Callable[[Cast], tuple[Rescind, Provider]]]:
    """What makes both clients for a provider, for as long as the block runs."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield lambda cast: (Rescind(stage, session, voice, cast), Provider(stage, session, voice, cast))


class Rescind:
    """Rescind's HTTP interface, for the account of one provider. With `aloud` a call is told as it is made."""

    def __init__(self, stage: Stage, session: aiohttp.ClientSession, voice: Voice, cast: Cast) -> None:
        self._stage, self._session, self._voice, self._cast = stage, session, voice, cast

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

    async def apply(self, resources: Json) -> None:
        """Make accounts and endpoints, as `rescind apply -f rescind.yaml` would; told."""
        reply = await self.ask("POST", "/v1/apply", {"resources": resources})
        changes = _fine(reply, "POST /v1/apply")["changes"]
        said = ", ".join(f"{each['action']} {each['kind']}/{each['id']}" for each in changes)
        self._voice.call(YOU, "POST /v1/apply", reply.status, said)

    async def deliver(
        self, webhook: bytes, *, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Bring a webhook, as the provider's postman: with its own headers, or else with a token."""
        proof = {"Authorization": f"Bearer {token or self._stage.secrets.hook_token}"}
        own = {"Content-Type": "application/json", **proof} if headers is None else dict(headers)
        return await self._send("POST", self._cast.webhook_path, own, webhook)

    async def bring(self, webhook: bytes, *, token: str | None = None) -> Reply:
        """`deliver`, told."""
        reply = await self.deliver(webhook, token=token)
        said = slug(reply) or reply.body.get("status")
        event = msgspec.json.decode(webhook)["event"]
        self._voice.call(self._cast.inbound, f"POST {self._cast.webhook_path}", reply.status, f"{said}: {event}")
        return reply

    async def wish(self, order: str, wish: Json | None = None, *, aloud: bool = False) -> Reply:
        """Ask for an order to be canceled."""
        path = f"{self._path(order)}/cancellations"
        reply = await self.ask("POST", path, wish or self._cast.wish)
        if aloud:
            self._voice.call(YOU, f"POST {path}", reply.status, slug(reply) or reply.body["state"])
        return reply

    async def cancel(self, order: str, wish: Json | None = None, *, aloud: bool = False) -> str:
        """Ask for an order to be canceled, which must be taken on; returns the cancellation's id."""
        reply = await self.wish(order, wish, aloud=aloud)
        return str(_fine(reply, f"POST {self._path(order)}/cancellations")["id"])

    async def order(self, order: str) -> Json | None:
        """An order; None if nothing was heard of it."""
        reply = await self.ask("GET", self._path(order))
        return None if reply.status == HTTPStatus.NOT_FOUND else dict(_fine(reply, f"GET {self._path(order)}"))

    async def shown(self, order: str) -> Json:
        """An order that is known, told."""
        known = await self.get(self._path(order))
        said = f"{known['phase']}, {known['verdict']['cancelable']} ({known['verdict']['reason']})"
        self._voice.call(YOU, f"GET {self._path(order)}", HTTPStatus.OK, said)
        return known

    async def judged(self, order: str, cancelable: str) -> Json:
        """An order, as soon as its verdict is this one."""

        async def look() -> Json | None:
            known = await self.order(order)
            return known if known is not None and known["verdict"]["cancelable"] == cancelable else None

        return await until(
            look, f"order {order} to be cancelable: {cancelable}", f"server.log, GET {self._path(order)}"
        )

    async def evidence(self, reply: Reply) -> str:
        """The types of the events that a rejection rests on; told."""
        verdict = reply.body.get("verdict") or {}
        events = [await self.get(f"/v1/events/{id}") for id in verdict.get("evidence", ())]
        for event in events:
            self._voice.call(YOU, f"GET /v1/events/{event['id'][:15]}...", HTTPStatus.OK, event["type"])
        return ", ".join(event["type"] for event in events)

    async def known(self, order: str) -> Json:
        """An order, as soon as its first webhook has come in."""
        return await until(lambda: self.order(order), f"a webhook about order {order}", "sandbox.log, server.log")

    async def cancellations(self, ids: Sequence[str]) -> dict[str, Json]:
        """These cancellations, by id."""
        rows = await self.everything(f"/v1/cancellations?account={self._cast.account}")
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
        return (await self.everything(f"/v1/events?account={self._cast.account}&order={order}"))[::-1]

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
        self._voice.call(self._cast.inbound, f"POST {self._cast.webhook_path}", "200", f"{receipt['status']}: {type}")
        return event

    async def ready(self) -> bool:
        """Does the server answer, and can it take work?"""
        try:
            return (await self.ask("GET", "/readyz")).status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    def _path(self, order: str) -> str:
        return f"/v1/accounts/{self._cast.account}/orders/{order}"

    async def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Reply:
        url = self._stage.server_url + path
        async with self._session.request(method, url, data=data, headers=headers) as answer:
            raw = await answer.read()
            return Reply(answer.status, msgspec.json.decode(raw) if raw else {})


class Provider:
    """The sandbox: one provider's side, moved by hand."""

    def __init__(self, stage: Stage, session: aiohttp.ClientSession, voice: Voice, cast: Cast) -> None:
        self._stage, self._session, self._voice, self._cast = stage, session, voice, cast

    @property
    def base_url(self) -> str:
        """What the account's `base_url` is."""
        return f"{self._stage.sandbox_url}/{self._cast.provider}"

    async def act(self, do: str, **more: Any) -> Json:
        """Let something happen at the provider."""
        return await self._control("POST", "act", {"do": do, **more})

    async def act_aloud(self, do: str, **more: Any) -> Json:
        """`act`, told."""
        done = await self.act(do, **more)
        subject = done.get("order_id") or more.get("topic")
        said = f"{do}: {subject}" if subject else do
        self._voice.call(SANDBOX, f"POST /_sandbox/{self._cast.provider}/act", HTTPStatus.OK, said)
        return done

    async def place(self, **more: Any) -> str:
        """A new order, told; returns its id."""
        return str((await self.act_aloud("create_order", **more))["order_id"])

    async def place_many(self, number: int) -> list[str]:
        """New orders; returns their ids."""
        return [await self._place() for _ in range(number)]

    async def befall(self, fault: str, **more: Any) -> None:
        """Let something go wrong with the next cancel call (or call of another `path`), or the next `times` of them."""
        await self._control("POST", "faults", {"fault": fault, "path": self._cast.cancel_path, **more})

    async def mend(self) -> None:
        """Nothing goes wrong any more."""
        await self._control("DELETE", "faults")

    async def send_webhooks(self) -> None:
        """Webhooks go to Rescind, those that were kept first."""
        headers = {"Authorization": f"Bearer {self._stage.secrets.hook_token}"} if self._cast.has_token else {}
        url = f"{self._stage.server_url}{self._cast.webhook_path}"
        await self._control("PUT", "webhooks", {"url": url, "headers": headers})

    async def keep_webhooks(self) -> None:
        """Webhooks stay in the sandbox for now."""
        await self._control("PUT", "webhooks", {"url": None})

    async def take_webhooks(self) -> list[Webhook]:
        """Take out the webhooks that were kept, oldest first."""
        kept = (await self._control("GET", "webhooks"))["data"]
        return [Webhook(each["headers"], each["body"].encode()) for each in kept]

    async def calls(self, order: str | None = None, path: str | None = None) -> list[Json]:
        """The calls that arrived at the provider, oldest first: of one order, of one path, or all."""
        calls: list[Json] = (await self._control("GET", "calls"))["data"]
        return [each for each in calls if order in (None, each["order"]) and path in (None, each["path"])]

    async def show_calls(self, order: str) -> list[Json]:
        """The calls about an order, told."""
        return self.tell(await self.calls(order))

    def tell(self, calls: list[Json], notes: Mapping[str, str] = UNANSWERED) -> list[Json]:
        """Tell these calls, with `notes` on what was made to go wrong with them; returns them."""
        for call in calls:
            note = notes.get(call["fault"] or "", "")
            status = "-" if note in UNANSWERED.values() else call["status"]
            self._voice.call(self._cast.outbound, f"{call['method']} {call['path']}", status, note)
        return calls

    async def orders(self) -> dict[str, Json]:
        """The provider's own books: every order by its id."""
        return {str(each["order_id"]): each for each in (await self.act("list"))["orders"]}

    async def book(self, order: str) -> Json:
        """One order in the provider's books."""
        return (await self.orders())[order]

    async def _place(self) -> str:
        return str((await self.act("create_order"))["order_id"])

    async def _control(self, method: str, what: str, body: Json | None = None) -> Json:
        path = f"/_sandbox/{self._cast.provider}/{what}"
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

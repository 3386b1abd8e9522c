"""A server with orders in every state, to look at: `python -m tests.example_server` serves the console until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))

from example_history import SHOP_ORDER, deliver, record
from providers import Provider, until
from servers import ACCOUNT, BOOTSTRAP_KEY, CANCEL_BODY, ENDPOINT, ROOT, Api, Rescind, account_of, endpoint_of

ORDERS = 40


async def configure(api: Api, provider: Provider) -> None:
    """Put the accounts and their endpoints."""
    await api.put("accounts", ACCOUNT, account_of(provider.url))
    await api.put("accounts", "acme-lofts", account_of(provider.url))
    await api.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await api.put("endpoints", "acme-lofts-in", endpoint_of("acme-lofts"))
    scenario = json.loads((ROOT / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8"))
    config = {**scenario["config"], "base_url": provider.url}
    await api.put("accounts", "shop", {"provider": "generic", "config": config, "rules": scenario["rules"]})
    await api.put("endpoints", "shop-in", endpoint_of("shop"))


async def fill(rescind: Rescind, provider: Provider) -> None:
    """Put a policy and a subscription, and let webhooks and cancels happen."""
    policy = {"accounts": ["acme-lofts"], "when": "order.phase == 'open'", "mode": "approve"}
    cancel = {"reason": "client_requested_cancelation", "note": "Not scheduled in time"}
    await rescind.put("policies", "unscheduled", {**policy, "cancel": cancel})
    await rescind.put("subscriptions", "crm", {"events": ["cancellation.*"]})
    now, called = datetime.now(UTC), list[str]()
    for number in range(ORDERS):
        at = now - timedelta(minutes=7 * (ORDERS - number))
        order = f"{654300 + number}"
        await provider.create(order)
        endpoint = ENDPOINT if number % 3 else "acme-lofts-in"
        await rescind.tell("order.processed", order, endpoint, at=at, customer=f"Customer {number}")
        if number % 4 == 1:
            starts = now + timedelta(hours=number)
            appointment = {"appointment_id": f"a-{number}", "starts_at": starts.isoformat()}
            await rescind.tell("appointment.scheduled", order, endpoint, at=at + timedelta(minutes=3), **appointment)
        if number % 5 == 2:
            reply = await rescind.request_cancel(order, ACCOUNT if number % 3 else "acme-lofts")
            if reply.status == 202:
                called.append(reply.json["id"])
    for body in (b"{", b'{"event": "order.teleported", "order_id": "654301"}', b'{"event": "order.processed"}'):
        await rescind.hook(body)
    await rescind.hook({}, token="wrong-token-0123456789")
    for id in called:
        await rescind.settled(id)


async def fill_shop(rescind: Rescind) -> None:
    """Orders that can be canceled until a day before their delivery."""
    now = datetime.now(UTC)
    for number, closes_in_h in enumerate((0.4, 0.7, 1.5, 2.5, 2.7, 6.2, 6.6, 9, 15, 22)):
        order = f"ord_{number}"
        if (await rescind.ask("GET", f"/v1/accounts/shop/orders/{order}")).status != HTTPStatus.OK:
            await deliver(rescind, order, "order.placed", now - timedelta(hours=3))
            await deliver(rescind, order, "delivery.booked", now, closes_in_h)


@dataclass(slots=True)
class Example:
    """The server, and where each page of the console has something to show."""

    rescind: Rescind
    provider: Provider
    paths: dict[str, str]
    """A page's path with variables → one with their values."""


@asynccontextmanager
async def start(directory: Path, port: int = 0, *, history: bool = False) -> AsyncIterator[Example]:
    """Serve it, with a day of history if wanted."""
    provider = await Provider.start()
    if history:
        await record(directory, provider, configure)
    rescind = await Rescind.start(directory, port=port)
    try:
        await configure(rescind, provider)
        await fill_shop(rescind)
        await fill(rescind, provider)
        yield Example(rescind, provider, await paths(rescind))
    finally:
        await rescind.stop()
        await provider.close()


async def backtest(rescind: Rescind) -> str:
    """The id of a backtest that is done."""
    path = "/v1/policies/unscheduled/backtest"
    started = (await rescind.ask("POST", path, {})).json

    async def done() -> bool:
        return bool((await rescind.get(f"{path}s/{started['id']}"))["state"] == "done")

    await until(done, "the backtest")
    return str(started["id"])


async def of_resources(rescind: Rescind) -> dict[str, str]:
    """Those of resources, keys and changes."""
    simple = ("/endpoints", "/endpoints/~new", "/accounts", "/accounts/~new", "/policies", "/policies/~new")
    simple += ("/subscriptions", "/subscriptions/~new", "/keys", "/audit")
    made = (await rescind.ask("POST", "/v1/keys", {"name": "Ann", "scope": "write"})).json
    sent = (await rescind.get("/v1/subscriptions/crm/deliveries"))["data"][0]
    return {
        **{path: path for path in simple},
        "/endpoints/{id}": f"/endpoints/{ENDPOINT}",
        "/endpoints/{id}/registrations": f"/endpoints/{ENDPOINT}/registrations",
        "/accounts/{id}": f"/accounts/{ACCOUNT}",
        "/policies/{id}": "/policies/unscheduled",
        "/subscriptions/{id}": "/subscriptions/crm",
        "/subscriptions/{id}/deliveries/{message}": f"/subscriptions/crm/deliveries/{sent['message']}",
        "/keys/{id}": f"/keys/{made['id']}",
        "/audit/{kind}/{id}": f"/audit/endpoints/{ENDPOINT}",
        "/policies/{id}/backtests/{backtest}": f"/policies/unscheduled/backtests/{await backtest(rescind)}",
    }


async def of_inspection(rescind: Rescind) -> dict[str, str]:
    """Paths of pages about the log, the receipts and the cancellations."""
    event = (await rescind.get("/v1/events?type=appointment.scheduled&limit=1"))["data"][0]
    cancellation = (await rescind.get("/v1/cancellations?state=succeeded&limit=1"))["data"][0]
    step = await rescind.get(f"/v1/cancellations/{cancellation['id']}")
    orders = [{"account": ACCOUNT, "order": f"{654300 + number}", **CANCEL_BODY} for number in (4, 10)]
    batch = (await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": orders})).json
    return {
        "/events": "/events?live=1",
        "/events/{id}": f"/events/{event['id']}",
        "/receipts": "/receipts",
        "/receipts/{id}": f"/receipts/{event['receipt']}",
        "/messages/{id}": f"/messages/{step['messages'][0]}",
        "/quarantine": "/quarantine",
        "/bulk/reprocess": f"/bulk/reprocess?account={ACCOUNT}",
        "/cancellations": "/cancellations?state=scheduled&waiting=approval",
        "/cancellations/{id}": f"/cancellations/{cancellation['id']}",
        "/batches/{id}": f"/batches/{batch['id']}",
        "/bulk/cancel": f"/bulk/cancel?account={ACCOUNT}&cancel_reason={CANCEL_BODY['reason']}&cancel_note=Late",
        "/bulk/approve": "/bulk/approve?policy=unscheduled",
        "/bulk/revoke": "/bulk/revoke",
    }


async def paths(rescind: Rescind) -> dict[str, str]:
    """A path for each page."""
    return {
        "/": "/",
        "/orders": "/orders",
        "/search": "/search?q=6543",
        "/orders/{account}/{order}": f"/orders/shop/{SHOP_ORDER}",
        "/orders/{account}/{order}/cancel": f"/orders/shop/{SHOP_ORDER}/cancel",
        "/orders/{account}/{order}/erase": f"/orders/shop/{SHOP_ORDER}/erase",
        **await of_inspection(rescind),
        **await of_resources(rescind),
    }


async def main() -> None:
    with TemporaryDirectory() as directory:
        port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
        async with start(Path(directory), port, history=True) as example:
            sys.stdout.write(f"{example.rescind.url}/sign-in with the key {BOOTSTRAP_KEY}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())

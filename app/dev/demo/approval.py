"""The chapter about an approval by link: a policy proposes a cancel, and a person decides on it from a chat."""

from __future__ import annotations

from html import unescape
from http import HTTPStatus
from urllib.parse import urlsplit

from app.dev.demo.context import YOU, Context
from app.dev.demo.processes import until
from app.dev.demo.providers import PLANOMATIC, Json
from app.dev.demo.receiver import Delivered

POLICY: Json = {
    "id": "demolished",
    "accounts": [PLANOMATIC.account],
    "when": 'order.phase == "open" && order.attributes.?external_property_id.orValue("") == "demo-demolished"',
    "cancel": {"reason": "client_requested_cancelation", "note": "The house is gone."},
    "mode": "approve",
}
HOUSE = {"external_property_id": "demo-demolished", "services": [{"slug": "photos"}]}
PATH = "/services/T0DEMO/B0DEMO/a-secret-part-of-the-url"
LINK, CHAT = "/approvals/", "chat"


async def approve_by_link(context: Context) -> None:
    """Follow the link of a proposal: opening it changes nothing, the button sends the cancel."""
    rescind, sandbox = context.at(PLANOMATIC)
    subscription = {"id": CHAT, "format": "slack", "url": context.receiver.url + PATH, "events": ["policy.proposed"]}
    await rescind.call_aloud("POST", "/v1/subscriptions", subscription, "notices to a chat, as Slack takes them")
    await rescind.call_aloud("POST", "/v1/apply", {"resources": {"policies": [POLICY]}})
    order = await sandbox.place(**HOUSE)
    await rescind.received(order, PLANOMATIC.opening)

    async def arrived() -> Delivered | None:
        return next(iter(context.receiver.accepted(PATH)), None)

    notice = (await until(arrived, "the notice in the chat", "server.log, GET /v1/subscriptions/chat")).message
    context.console.call("Rescind > chat", "POST /services/...", HTTPStatus.NO_CONTENT.value, notice["text"])
    link = _link(notice)
    opened, _ = await _visit(context, "GET", link)
    (waiting,) = (await rescind.get(f"/v1/cancellations?policy={POLICY['id']}"))["data"]
    calls = len(await sandbox.calls(order))
    forged, _ = await _visit(context, "POST", link[:-4] + "AAAA", "decision=approve")
    pressed, _ = await _visit(context, "POST", link, "decision=approve")
    ended = await rescind.settled(waiting["id"])
    sandbox.show(await sandbox.calls(order))
    await _visit(context, "POST", link, "decision=decline")
    _, page = await _visit(context, "GET", link)
    books = (await sandbox.orders())[order]
    after = await rescind.get(f"/v1/cancellations/{waiting['id']}")
    await rescind.call_aloud("DELETE", f"/v1/policies/{POLICY['id']}")

    seen = f"{opened}, {waiting['state']}, {calls}"
    context.claim("the link opened: status, the cancellation, calls", "200, scheduled, 0", seen)
    context.claim("a link that was changed", 404, forged)
    context.claim("the button pressed: status, the cancellation", "303, succeeded", f"{pressed}, {ended['state']}")
    context.claim("PlanOmatic's books", "canceled, 1", f"{books['status']}, {books['cancel_effects']}")
    context.claim("pressed once more, the other button: the cancellation", "succeeded", after["state"])
    expected = f"Approved by link of subscription {CHAT}"
    seen = expected if expected in page else "nothing of it"
    context.claim("what the page says then", expected, seen)


def _link(notice: Json) -> str:
    """The link of a proposal, in Slack's markup: `<URL|text>`."""
    texts = (block["text"]["text"] for block in notice["blocks"] if block["type"] == "section" and "text" in block)
    marked = next(text for text in texts if LINK in text)
    return unescape(marked.strip("<>").partition("|")[0])


async def _visit(context: Context, method: str, url: str, form: str = "") -> tuple[int, str]:
    """Open a link as a browser does, without an API key; returns the status and the page."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    async with context.http.request(method, url, data=form or None, headers=headers, allow_redirects=False) as response:
        page = await response.text()
    note = "opens the page" if method == "GET" else f"the form: {form}"
    context.console.call(YOU, f"{method} {LINK}{urlsplit(url).path.removeprefix(LINK)[:12]}...", response.status, note)
    return response.status, page

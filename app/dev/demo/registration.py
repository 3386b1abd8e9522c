"""The chapter about an endpoint: created, pasted at the provider, tested, rotated with an overlap, and then without."""

from __future__ import annotations

from http import HTTPStatus

from app.dev.demo.context import Context
from app.dev.demo.providers import PLANOMATIC, Json

ENDPOINT = "acme-second"
PATH, WEBHOOK_PATH = f"/v1/endpoints/{ENDPOINT}", f"/webhooks/{ENDPOINT}"
SHOWN_CHARS = 12
"""How much of a secret the demo prints."""


async def register_and_rotate(context: Context) -> None:
    """Create a second endpoint for PlanOmatic, and rotate its secret while webhooks come in."""
    rescind, sandbox = context.at(PLANOMATIC)
    created = await rescind.call_aloud("POST", "/v1/endpoints", {"id": ENDPOINT, "account": PLANOMATIC.account})
    setup, secret = created.body["setup"], created.body["secret"]
    text = _url(created.body).replace(secret, f"{secret[:SHOWN_CHARS]}...")
    context.console.note(f"{setup['where']} {setup['fields'][0]['name']}: {text}")
    await sandbox.paste(_url(created.body))

    receipts = len(await rescind.rows(f"/v1/receipts?endpoint={ENDPOINT}"))
    tested = await rescind.call_aloud("POST", f"{PATH}/test", {}, "a signed sample, through the real path")
    steps = ", ".join(step["step"] for step in tested.body["steps"] if step["ok"])
    left = len(await rescind.rows(f"/v1/receipts?endpoint={ENDPOINT}")) - receipts
    context.claim("the sample: steps that succeed", "signed, reached, enabled, verified, parsed", steps)
    context.claim("receipts that the sample leaves", 0, left)

    first = await _arrival(context)
    again = (await rescind.get(PATH)).get("secret", "not shown")
    rotated = await rescind.call_aloud("POST", f"{PATH}/rotate", {}, "the former secret stays valid for 24 h")
    second = await _arrival(context)
    (former,) = (await rescind.get(PATH))["traffic"]["retired_secrets"]
    context.console.note(f"PlanOmatic still sends the former secret, at {former['last_used_at']} last.")
    await sandbox.paste(_url(rotated.body))
    third = await _arrival(context)
    ended = await rescind.call_aloud("POST", f"{PATH}/rotate", {"overlap_h": 0}, "at once: the secret has leaked")
    refused = await rescind.deliver_to(_url(rotated.body), b"{}")
    await sandbox.paste(_url(ended.body))
    fourth = await _arrival(context)
    causes = ", ".join(row["cause"] for row in (await rescind.get(f"{PATH}/refusals"))["data"])
    await sandbox.send_webhooks()
    await rescind.call_aloud("DELETE", PATH)

    context.claim("webhooks after the URL was pasted", "accepted", first)
    context.claim("the secret, when it is asked for again", "not shown", again)
    context.claim("after the rotation: by the former, by the new one", "accepted, accepted", f"{second}, {third}")
    context.claim("uses of the former secret that the endpoint shows", 1, former["uses"])
    context.claim(
        "rotated without an overlap: the former", "401 unauthentic-webhook", f"{refused.status} {refused.summary}"
    )
    context.claim("the cause that the endpoint shows for it", "bad_signature", causes)
    context.claim("and the new one", "accepted", fourth)


async def _arrival(context: Context) -> str:
    """Place an order at the provider; returns which endpoint received its webhook, and the receipt's status."""
    rescind, sandbox = context.at(PLANOMATIC)
    order = await sandbox.place()
    path = f"/v1/events?account={PLANOMATIC.account}&order={order}"

    def receipt(page: Json) -> str | None:
        return next((row["receipt"] for row in page["data"] if row["receipt"]), None)

    id = await rescind.when(path, receipt, f"the webhook about order {order}")
    row = await rescind.get(f"/v1/receipts/{id}")
    rescind.show_webhook(HTTPStatus.OK.value, f"{row['status']}: {PLANOMATIC.opening}", path=WEBHOOK_PATH)
    return str(row["status"]) if row["endpoint"] == ENDPOINT else f"{row['status']} by {row['endpoint']}"


def _url(endpoint: Json) -> str:
    """The URL to paste into PlanOmatic's form; the secret is part of it."""
    (field,) = endpoint["setup"]["fields"]
    return str(field["value"])

"""What a subscriber receives that is down until after the kill, in the chapter about kill -9."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from app.dev.demo.context import POLL_S, Context
from app.dev.demo.processes import until
from app.dev.demo.providers import PLANOMATIC

ID, PATH = "crm", "/crm"
FAMILY = "cancellation."


async def subscribe_while_down(context: Context) -> str:
    """Create a subscription to what becomes of cancellations, at a receiver that is down; returns its secret."""
    rescind, _ = context.at(PLANOMATIC)
    context.receiver.down = True
    subscription = {
        "id": ID,
        "url": context.receiver.url + PATH,
        "events": [f"{FAMILY}*"],
        "accounts": [PLANOMATIC.account],
        "ordered": True,
    }
    response = await rescind.call_aloud("POST", "/v1/subscriptions", subscription, f"sends {FAMILY}* to a CRM")
    return str(response.body["secret"])


def come_back(context: Context) -> None:
    """Let the receiver respond again."""
    refused = len(context.receiver.refused(PATH))
    context.console.call("Rescind > CRM", f"{refused} x POST {PATH}", 503, "it is down, before and after the kill")
    context.receiver.down = False


async def claim_deliveries(context: Context, secret: str, orders: Collection[str]) -> None:
    """Claim that every event about a cancellation of these orders has arrived once, signed and in turn."""
    rescind, _ = context.at(PLANOMATIC)
    log = await rescind.rows(f"/v1/events?account={PLANOMATIC.account}&type={FAMILY}*")
    # The log is shown newest first.
    due = [event["id"] for event in reversed(log) if event["order"] in orders]

    async def settled() -> bool:
        return not (await rescind.get(f"/v1/subscriptions/{ID}"))["delivery"]["pending"]

    await until(settled, "all deliveries to the CRM", f"server.log, GET /v1/subscriptions/{ID}", every_s=POLL_S)
    accepted = [row for row in context.receiver.accepted(PATH) if row.data["order"] in orders]
    context.console.call("Rescind > CRM", f"{len(accepted)} x POST {PATH}", 204, "it is back")
    causes = [str(row.data["event"]) for row in accepted]
    arrived = sum(causes.count(cause) == 1 for cause in due)
    context.claim(
        "events about their cancellations: at the CRM once", f"{len(due)} of {len(due)}", f"{arrived} of {len(causes)}"
    )
    turns, turn = defaultdict[str, list[int]](list), {cause: number for number, cause in enumerate(due)}
    for row in accepted:
        turns[row.data["order"]].append(turn.get(row.data["event"], -1))
    in_turn = sum(numbers == sorted(numbers) for numbers in turns.values())
    context.claim("orders of which the CRM heard in the order of events", len(orders), in_turn)
    verified = sum(row.verified_by(secret) for row in accepted)
    context.claim("deliveries whose signature is valid", len(accepted), verified)
    refused = len(context.receiver.refused(PATH))
    context.claim("deliveries tried while it was down", "1 or more", refused, ok=refused > 0)

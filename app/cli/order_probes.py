"""`rescind orders refresh` and `import`: have the provider asked how orders stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Api, connect, segment
from app.cli.evidence import verdict_of
from app.cli.failure import FAILED, Failure
from app.cli.options import Json
from app.cli.order_files import ORDER, OrderFile, open_order_file
from app.cli.output import Column
from app.cli.progress import progress
from app.cli.times import ahead, shown
from app.cli.wait import follow

PAGE = 500
SHOWN_MAX = 20
_MEANING = {"busy": "a cancellation is under way, which asks by itself", "wanted": "not asked yet; it goes on"}
_ENDS = {"order.probed": "asked", "probe.abandoned": "abandoned"}

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account that the orders belong to.")]
Until = Annotated[
    datetime | None,
    typer.Option(parser=ahead, metavar="TIME", help="Wait for the answers no longer than this, such as 2m."),
]

COLUMNS = (
    Column("ORDER", lambda row: row["order"]),
    Column("OUTCOME", lambda row: output.word(row["outcome"])),
    Column("PHASE", lambda row: row.get("phase")),
    Column("CANCELABLE", lambda row: row.get("verdict") and verdict_of(row["verdict"])),
    Column("DETAIL", lambda row: row["detail"] or _MEANING.get(row["outcome"]), wraps=True),
)


def refresh_orders(
    account: Account,
    orders: Annotated[list[str], typer.Argument(metavar="ORDER", help="The provider's ids of the orders.")],
    wait_timeout: Until = None,
    json: Json = False,
) -> None:
    """Ask the provider how orders stand, and show what it says; the exit code is 1 if it does not say it of all."""
    path = f"/v1/accounts/{segment(account)}/probes"
    with connect(json) as api:
        asked = api.post(path, {"orders": orders})
        rows = {each["order"]: each for each in asked["results"]}
        wanted = [order for order, row in rows.items() if row["outcome"] == "wanted"]
        with progress("Asked", len(wanted)) as bar:

            def look() -> dict[str, Any]:
                for order in wanted:
                    if rows[order]["outcome"] == "wanted":
                        rows[order] |= _answer(api, account, order, asked["asked_at"])
                return {"over": sum(rows[each]["outcome"] != "wanted" for each in wanted)}

            def say(known: Mapping[str, Any]) -> None:
                details = [rows[each]["detail"] for each in wanted if rows[each]["detail"]]
                bar.to(known["over"], details[0] if details else "")

            say(follow(look(), look, lambda known: known["over"] == len(wanted), say, wait_timeout))
        for order in rows:
            if rows[order]["outcome"] in ("asked", "busy"):
                known = api.get(f"/v1/accounts/{segment(account)}/orders/{segment(order)}")
                rows[order] |= {"phase": known["phase"], "verdict": known["verdict"]}
    if json:
        output.print_json({"data": list(rows.values())})
    else:
        output.show(output.table(COLUMNS, list(rows.values())))
    if any(row["outcome"] != "asked" for row in rows.values()):
        raise typer.Exit(FAILED)


def _answer(api: Api, account: str, order: str, since: str) -> dict[str, Any]:
    """What became of the probe of an order so far."""
    query = {"account": account, "order": order, "since": since, "limit": 20}
    for event in api.get("/v1/events", query)["data"]:
        detail = str(event["data"].get("detail") or "")
        if event["type"] in _ENDS:
            return {"outcome": _ENDS[event["type"]], "detail": detail}
        if event["type"] == "probe.failed":
            return {"detail": detail}
    return {}


def import_orders(
    account: Account,
    file: OrderFile,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow until the provider was asked about all of them.")
    ] = True,
    json: Json = False,
) -> None:
    """Take on orders that nobody told of: the provider is asked about each, within half of the limit."""
    path = f"/v1/accounts/{segment(account)}/probes"
    outcomes: Counter[str] = Counter()
    rest: list[dict[str, Any]] = []
    with connect(json) as api:
        with open_order_file(file) as given, progress("Taken on", given.lines) as bar:
            orders = (row[ORDER] for row in given.rows)
            while page := list(islice(orders, PAGE)):
                answer = api.post(path, {"orders": page, "only_new": True})
                outcomes.update(answer["outcomes"])
                others = (each for each in answer["results"] if each["outcome"] in ("invalid", "unavailable"))
                rest += islice(others, SHOWN_MAX - len(rest))
                bar.to(outcomes.total())
                if outcomes["unavailable"]:
                    break
        if not outcomes:
            raise Failure(f"{file} names no orders.")
        waiting = api.get(path)
        if wait and outcomes["wanted"]:
            waiting = _follow(api, path, outcomes["wanted"])
    if json:
        left = {"waiting": waiting["waiting"], "more": waiting["more"]}
        output.print_json({"outcomes": dict(outcomes), "not_taken_on": rest, **left})
    else:
        _show(outcomes, rest, waiting)
    if rest:
        raise typer.Exit(FAILED)


def _follow(api: Api, path: str, wanted: int) -> dict[str, Any]:
    try:
        with progress("Probed", wanted) as bar:

            def say(known: Mapping[str, Any]) -> None:
                lane = known["lane"] or {}
                held = lane.get("state") if lane.get("state") not in ("idle", "sending", "rate_limited") else None
                note = f"{held.replace('_', ' ')}: {lane['reason']}" if held else f"until {shown(known['until'])}"
                # How many are done is not known while nobody has counted those that wait.
                over = 0 if known["more"] else max(0, wanted - known["waiting"])
                bar.to(over, f"{_still(known)} wait, {note}" if known["waiting"] else "")

            known = follow(api.get(path), partial(api.get, path), lambda known: not known["waiting"], say)
            say(known)
            return known
    except KeyboardInterrupt as error:
        raise Failure("Not waited for any longer, but it goes on; the same command again follows it.", 130) from error


def _still(known: Mapping[str, Any]) -> str:
    return f"more than {known['waiting']}" if known["more"] else str(known["waiting"])


def _show(outcomes: Counter[str], rest: Sequence[Mapping[str, Any]], waiting: Mapping[str, Any]) -> None:
    if rest:
        output.show(output.table((COLUMNS[0], COLUMNS[1], COLUMNS[4]), rest))
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    output.say(f"{outcomes.total()} orders: {said}.")
    if waiting["waiting"]:
        output.say(f"{_still(waiting)} are still to be asked about, the last at {shown(waiting['until'])}.")
    else:
        output.say("What the provider does not know is in `rescind events list --type probe.abandoned`.")

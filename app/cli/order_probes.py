"""`rescind orders refresh` and `import`: probe orders at their provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

import typer

from app.cli import completion, output
from app.cli.client import Api, connect, segment
from app.cli.evidence import verdict_of
from app.cli.failure import FAILED, Failure
from app.cli.options import Json
from app.cli.order_files import ORDER, OrderFile, open_order_file
from app.cli.orders import path_of
from app.cli.output import Column
from app.cli.progress import progress
from app.cli.times import ahead, shown
from app.cli.wait import interruptible, wait_for

PAGE = 500
SHOWN_MAX = 20
_MEANING = {"busy": "its live cancellation probes it", "wanted": "not probed yet; the server continues"}
_ENDS = {"order.probed": "asked", "probe.abandoned": "abandoned"}

Account = Annotated[
    str,
    typer.Argument(
        metavar="ACCOUNT", help="The account that the orders belong to.", autocompletion=completion.accounts
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=ahead, metavar="TIME", help="Wait no longer than this, such as 2m."),
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
    """Probe orders at the provider, and show their verdicts; the exit code is 1 unless all were probed."""
    path = f"/v1/accounts/{segment(account)}/probes"
    with connect(json) as api:
        probes = api.post(path, {"orders": orders})
        rows = {row["order"]: row for row in probes["results"]}
        wanted = [order for order, row in rows.items() if row["outcome"] == "wanted"]
        with progress("Probed", len(wanted)) as bar:

            def look() -> dict[str, Any]:
                for order in wanted:
                    if rows[order]["outcome"] == "wanted":
                        rows[order] |= _probe_result(api, account, order, probes["asked_at"])
                return {"over": sum(rows[order]["outcome"] != "wanted" for order in wanted)}

            def report(state: Mapping[str, Any]) -> None:
                bar.to(state["over"], next((rows[order]["detail"] for order in wanted if rows[order]["detail"]), ""))

            report(wait_for(look(), look, lambda state: bool(state["over"] == len(wanted)), report, wait_timeout))
        for order in rows:
            if rows[order]["outcome"] in ("asked", "busy"):
                shown_order = api.get(path_of(account, order))
                rows[order] |= {name: shown_order[name] for name in ("phase", "verdict")}
    if json:
        output.print_json({"data": list(rows.values())})
    else:
        output.show(output.table(COLUMNS, list(rows.values())))
    if any(row["outcome"] != "asked" for row in rows.values()):
        raise typer.Exit(FAILED)


def _probe_result(api: Api, account: str, order: str, since: str) -> dict[str, Any]:
    """The result of the probe of an order so far."""
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
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all of them were probed.")] = True,
    json: Json = False,
) -> None:
    """Import orders that sent no webhook: each is probed, within half of the account's limit."""
    path = f"/v1/accounts/{segment(account)}/probes"
    outcomes: Counter[str] = Counter()
    rest: list[dict[str, Any]] = []
    with connect(json) as api:
        with open_order_file(file) as reader, progress("Imported", reader.lines) as bar:
            orders = (row[ORDER] for row in reader.rows)
            while page := list(islice(orders, PAGE)):
                result = api.post(path, {"orders": page, "only_new": True})
                outcomes.update(result["outcomes"])
                others = (row for row in result["results"] if row["outcome"] in ("invalid", "unavailable"))
                rest += islice(others, SHOWN_MAX - len(rest))
                bar.to(outcomes.total())
                if outcomes["unavailable"]:
                    break
        if not outcomes:
            raise Failure(f"{file} contains no orders.")
        waiting = api.get(path)
        if wait and outcomes["wanted"]:
            waiting = _wait_for_probes(api, path, outcomes["wanted"])
    if json:
        left = {"waiting": waiting["waiting"], "more": waiting["more"]}
        output.print_json({"outcomes": dict(outcomes), "not_taken_on": rest, **left})
    else:
        _show(outcomes, rest, waiting)
    if rest:
        raise typer.Exit(FAILED)


def _wait_for_probes(api: Api, path: str, wanted: int) -> dict[str, Any]:
    with interruptible(lambda: "The same command waits again."), progress("Probed", wanted) as bar:

        def report(probes: Mapping[str, Any]) -> None:
            lane = probes["lane"] or {}
            held = lane.get("state") if lane.get("state") not in ("idle", "sending", "rate_limited") else None
            note = f"{held.replace('_', ' ')}: {lane['reason']}" if held else f"until {shown(probes['until'])}"
            # With `more`, the server did not count all that wait.
            over = 0 if probes["more"] else max(0, wanted - probes["waiting"])
            bar.to(over, f"{_still(probes)} wait, {note}" if probes["waiting"] else "")

        probes = wait_for(api.get(path), partial(api.get, path), lambda probes: not probes["waiting"], report)
        report(probes)
        return probes


def _still(probes: Mapping[str, Any]) -> str:
    return f"more than {probes['waiting']}" if probes["more"] else str(probes["waiting"])


def _show(outcomes: Counter[str], rest: Sequence[Mapping[str, Any]], waiting: Mapping[str, Any]) -> None:
    if rest:
        output.show(output.table((COLUMNS[0], COLUMNS[1], COLUMNS[4]), rest))
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    output.say(f"{outcomes.total()} orders: {counts}.")
    if waiting["waiting"]:
        output.say(f"{_still(waiting)} are still to be probed, the last at {shown(waiting['until'])}.")
    else:
        output.say("`rescind events list --type probe.abandoned` lists the orders that the provider does not know.")

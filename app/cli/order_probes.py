"""`rescind orders refresh` and `import`: probe orders at their provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

import typer

from app.cli import completion, output
from app.cli.client import Api, connect, segment
from app.cli.evidence import verdict_of
from app.cli.failure import FAILED, Failure, ProblemError, UnreachableError
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
_HOLDUPS = ("paused", "throttled", "breaker_open")
"""States of a lane in which it sends nothing for a while."""
_PAUSES = ("paused", "credentials_refused")
"""Codes of findings on pauses of sending."""
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
    path = _path(account)
    with connect(json) as api:
        probes = api.post(path, {"orders": orders})
        rows = {row["order"]: row for row in probes["results"]}
        wanted = [order for order, row in rows.items() if row["outcome"] == "wanted"]
        hold, hint = _Hold(api, account, "`--wait-timeout`"), "`rescind orders show` shows an order."
        with interruptible(lambda: hint), progress("Probed", len(wanted)) as bar:

            def look() -> dict[str, Any]:
                for order in wanted:
                    if rows[order]["outcome"] == "wanted":
                        rows[order] |= _probe_result(api, account, order, probes["asked_at"])
                over = sum(rows[order]["outcome"] != "wanted" for order in wanted)
                return {"over": over, "lane": api.get(path)["lane"]}

            def report(state: Mapping[str, Any]) -> None:
                if state["over"] < len(wanted):
                    hold.look(state["lane"])
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
    path = _path(account)
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
            waiting = _wait_for_probes(api, account, outcomes["wanted"])
    if json:
        left = {"waiting": waiting["waiting"], "more": waiting["more"]}
        output.print_json({"outcomes": dict(outcomes), "not_taken_on": rest, **left})
    else:
        _show(outcomes, rest, waiting)
    if rest:
        raise typer.Exit(FAILED)


def _wait_for_probes(api: Api, account: str, wanted: int) -> dict[str, Any]:
    """Wait until no order of the account waits for its probe, and show how far it is."""
    path, hint = _path(account), "`rescind orders import` with the same file waits again, with `--no-wait` it does not."
    hold = _Hold(api, account, "`--no-wait`")
    with interruptible(lambda: hint), progress("Probed", wanted) as bar:

        def report(probes: Mapping[str, Any]) -> None:
            hold.look(probes["lane"])
            # With `more`, the server did not count all that wait.
            over = 0 if probes["more"] else max(0, wanted - probes["waiting"])
            note = hold.reason or f"until {shown(probes['until'])}"
            bar.to(over, f"{_still(probes)} wait, {note}" if probes["waiting"] else "")

        probes = wait_for(api.get(path), partial(api.get, path), lambda probes: not probes["waiting"], report)
        report(probes)
        return probes


@dataclass(slots=True)
class _Hold:
    """What keeps an account's probes from being sent. A pause is said when it begins, since only a person ends it."""

    api: Api
    account: str
    option: str
    """The option that ends the wait."""
    reason: str = ""
    """Why nothing is sent now; empty if something is."""
    paused: bool = False

    def look(self, lane: Mapping[str, Any] | None) -> None:
        """See what the lane's status shows."""
        state = lane["state"] if lane else ""
        self.reason = f"{state.replace('_', ' ')}: {lane['reason']}" if lane and state in _HOLDUPS else ""
        was_paused, self.paused = self.paused, state == "paused"
        if self.paused and not was_paused:
            output.say(
                f"Sending is {self.reason}. Until it is resumed no provider is asked, and this command waits: "
                f"{self._todo()} Ctrl-C or {self.option} ends the wait; the server asks once sending is resumed."
            )
        elif was_paused and not self.paused:
            output.say("Sending is resumed.")

    def _todo(self) -> str:
        """What ends the pause."""
        with suppress(UnreachableError, ProblemError):  # a key for single accounts may not see the status
            for row in self.api.get("/v1/status")["findings"]:
                if row["code"] in _PAUSES and (row["account"] == self.account or row["what"] == "everything"):
                    return str(row["do"])
        return "`rescind resume` when sending may continue."


def _path(account: str) -> str:
    return f"/v1/accounts/{segment(account)}/probes"


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

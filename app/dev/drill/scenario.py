"""What happens in the drill, and what is claimed of it.

A third of the orders gets its cancel before the backup, a third after it, and a third is never canceled. Who asked for
a cancel after the backup asks again after the restore, as a caller does that finds no trace of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from app.dev.demo.calls import about
from app.dev.demo.context import AT_ONCE, Context, Rescind
from app.dev.demo.processes import Processes, until
from app.dev.demo.providers import PLANOMATIC, Json
from app.dev.demo.verdicts import connect
from app.dev.drill.sender import Sender, Sent

CANCEL = PLANOMATIC.cancel_path
LATE_S = 2.0
"""The delay of PlanOmatic's responses while the backup is taken."""
OVERLAP_S = 1.0
"""Providers send again a little more than what was lost: nobody knows to the second when the backup began."""
STEPS = ("await_availability", "schedule_appointment", "post_process")
_GONE = ("", "-wal", "-shm", ".key", ".backup", ".lock")
_WAIT = "server.log"


class Drill:
    """One run."""

    def __init__(self, context: Context, orders: int) -> None:
        self.context, self._number = context, orders
        self.figures: list[tuple[str, str]] = []
        self.rescind, self.sandbox = context.at(PLANOMATIC)
        self.sender = Sender(self.rescind, self.sandbox)
        self._canceled: dict[str, list[str]] = {"before": [], "after": []}
        self._moved: list[str] = []
        self._untold: list[Sent] = []
        """Webhooks of cancels that were sent after the backup; no provider sends these again."""
        self._scheduled: list[str] = []
        """Orders whose cancels are scheduled in the backup."""
        self._backup: Json = {}
        self._began_at = self._ended_at = self._killed_at = 0.0

    async def play(self) -> None:
        """Play all parts; the claims are in the report."""
        await connect(self.context, PLANOMATIC)
        await self.sandbox.hold_webhooks()
        self.sender.start()
        try:
            for number, part in enumerate(
                (self._serve, self._destroy_and_restore, self._send_again, self._resume, self._compare), 1
            ):
                self.context.chapter = number
                await part()
        finally:
            await self.sender.stop()

    # -- 1: load and backup ------------------------------------------------------------------

    async def _serve(self) -> None:
        third = self._number // 3
        orders = await self.sandbox.place_many(2 * third)
        await self._all_sent()
        split = third * 3 // 4
        self._canceled["before"], self._moved = orders[:split], orders[third:]
        # The last half is paused while the backup is taken: in the backup it is scheduled, and sent after it.
        await self.sandbox.inject("delay", seconds=LATE_S, times=split)
        await self.rescind.cancel_all(orders[: split // 2])
        await self._calls_made(1)
        await self.rescind.call_aloud("POST", "/v1/pause", {"scope": "all"})
        await self.rescind.cancel_all(orders[split // 2 : split])
        load = asyncio.create_task(self._more_load(third))
        directory = self.context.processes.directory / "backups"
        directory.mkdir()
        self._began_at = time.monotonic()
        self._backup = await self._command("backup", "--into", "backups", "--keep", "2", "--check")
        self._ended_at = time.monotonic()
        await load
        scheduled = await self.rescind.rows(f"/v1/cancellations?account={PLANOMATIC.account}&state=scheduled")
        self._scheduled = [row["order"] for row in scheduled]
        await self.sandbox.clear_faults()
        await self.rescind.call_aloud("POST", "/v1/resume", {"scope": "all"})
        await self._calls_made(split)
        # After the backup: more orders, steps of the others, cancels; the last of them are still under way at the kill.
        late = await self.sandbox.place_many(third)
        for order in self._moved[::2]:
            await self.sandbox.act("schedule_appointment", order_id=order)
        await self._all_sent()
        self._canceled["after"] = [*orders[split:third], *late[: third // 2]]
        made = len(about(await self.sandbox.calls(path=CANCEL), self._canceled["after"]))
        await self.rescind.cancel_all(self._canceled["after"])
        await self._calls_made(made + len(self._canceled["after"]) // 3, "after")
        checks = {check["check"]: check["state"] for check in self._backup["check"]["checks"]}
        state = ", ".join(sorted({*checks.values()}))
        self.context.claim("the backup: file, schema, key, log, orders", "ok", state, ok="fault" not in state)
        took_s = self._ended_at - self._began_at
        self.figures.append(("backup under load, verified", f"{took_s:.1f} s, {self._backup['bytes'] / 1e6:.1f} MB"))

    async def _more_load(self, number: int) -> None:
        """Events of orders that are there, while the backup is taken."""
        for order in self._moved[1::2][:number]:
            await self.sandbox.act("await_availability", order_id=order)

    async def _calls_made(self, number: int, which: str = "before") -> None:
        async def made() -> bool:
            return len(about(await self.sandbox.calls(path=CANCEL), self._canceled[which])) >= number

        await until(made, f"{number} cancels to reach PlanOmatic", _WAIT)

    async def _all_sent(self) -> None:
        async def sent() -> bool:
            # The sandbox may still hold some that nobody has taken out: a second look says so.
            before = len(self.sender.sent)
            await asyncio.sleep(0.2)
            return self.sender.is_idle and len(self.sender.sent) == before

        await until(sent, "all webhooks to be acknowledged", _WAIT)

    # -- 2: the disaster ---------------------------------------------------------------------

    async def _destroy_and_restore(self) -> None:
        processes, console = self.context.processes, self.context.console
        acknowledged = {sent.receipt: sent for sent in self.sender.acknowledged}
        events = {row["id"] for row in await self._rows("events")}
        self._killed_at = time.monotonic()
        pid = processes.kill_server()
        database = processes.directory / "rescind.db"
        for path in [*processes.directory.glob("rescind-index.db*"), *(_with(database, end) for end in _GONE)]:
            path.unlink(missing_ok=True)
        console.note(f"kill -9 {pid}; {database} and its log and key are deleted.")
        await self.sender.stop()
        began = time.monotonic()
        await self._command("restore", "--from", "backups")
        restored_s = time.monotonic() - began
        await processes.restart_server()
        await until(self._is_ready, "GET /readyz to return 200", _WAIT)
        ready_s = time.monotonic() - began
        kept = {row["id"] for row in await self._rows("receipts")}
        self._claim_losses(acknowledged, kept)
        live = sum(not row["final"] for row in await self._rows("cancellations"))
        lost = events - {row["id"] for row in await self._rows("events")}
        rpo_s = self._killed_at - self._began_at
        self.figures += [
            ("RPO: acknowledged webhooks that were lost", f"{len(acknowledged.keys() - kept)} of {len(acknowledged)}"),
            ("RPO: events that were lost", f"{len(lost)} of {len(events)}"),
            ("RPO: from the beginning of the backup to the kill", f"{rpo_s:.1f} s"),
            ("cancels under way or scheduled in the backup", str(live)),
            ("RTO: the backup is restored", f"{restored_s:.1f} s"),
            ("RTO: the server is ready", f"{ready_s:.1f} s"),
        ]
        self._restored_at = began

    def _claim_losses(self, acknowledged: dict[str, Sent], kept: set[str]) -> None:
        """The sender's own record, beside what the restored server has."""
        before = {id for id, sent in acknowledged.items() if sent.acked_at < self._began_at}
        after = {id for id, sent in acknowledged.items() if sent.sent_at > self._ended_at}
        claim = self.context.claim
        claim(
            "acknowledged before the backup: still there", f"{len(before)} of {len(before)}", _of(before & kept, before)
        )
        claim("acknowledged after the backup: lost", f"{len(after)} of {len(after)}", _of(after - kept, after))
        claim("receipts that nobody sent", 0, len(kept - acknowledged.keys()))

    async def _is_ready(self) -> bool:
        return (await self.rescind.call("GET", "/readyz")).status == HTTPStatus.OK

    # -- 3: the state comes back -------------------------------------------------------------

    async def _send_again(self) -> None:
        claim = self.context.claim
        findings = (await self.rescind.get("/v1/status"))["findings"]
        paused = [row for row in findings if (row["code"], row["what"]) == ("paused", "everything")]
        claim("sending after the restore", "paused", "paused" if paused else "not paused")
        calls = len(await self.sandbox.calls(path=CANCEL))
        since = self._began_at - OVERLAP_S
        again = [sent for sent in self.sender.sent if sent.acked_at >= since]
        never = [sent for sent in self.sender.sent if not sent.acked_at]
        told = [sent for sent in (*again, *never) if not self._is_untold(sent)]
        self._untold = [sent for sent in (*again, *never) if self._is_untold(sent)]
        self.sender.start()
        self.sender.resend(told)
        await self._all_sent()
        duplicates = sum(sent.duplicate for sent in told)
        note = (
            f"{len(told)} webhooks were sent again, {duplicates} of them known; {len(self._untold)} never came again."
        )
        self.context.console.note(note)
        repeated = await self._request_again()
        self.context.console.note(f"Cancels that were requested after the backup, requested again: {repeated}.")
        made = len(await self.sandbox.calls(path=CANCEL)) - calls
        claim("cancels that left while sending was paused", 0, made)

    def _is_untold(self, sent: Sent) -> bool:
        """Whether it says that a cancel took effect which every second order had scheduled in the backup."""
        body = msgspec.json.decode(sent.body)
        return body["event"] == "order.canceled" and str(body["order_id"]) in self._scheduled[::2]

    async def _request_again(self) -> str:
        room = asyncio.Semaphore(AT_ONCE)

        async def request(order: str) -> int:
            async with room:
                path = f"{self.rescind.path(order)}/cancellations"
                return (await self.rescind.call("POST", path, PLANOMATIC.cancel)).status

        statuses = await asyncio.gather(*map(request, self._canceled["after"]))
        numbers = {status: statuses.count(status) for status in sorted({*statuses})}
        return ", ".join(f"{number} x {status}" for status, number in numbers.items())

    # -- 4: sending goes on ------------------------------------------------------------------

    async def _resume(self) -> None:
        rows = await self._rows("cancellations")
        await self._command("resume")
        ended = await self.rescind.all_settled([row["id"] for row in rows])
        await self._all_sent()
        self._settled_at = time.monotonic()
        self.figures.append(("RTO: everything has ended", f"{self._settled_at - self._restored_at:.1f} s"))
        final = sum(bool(row["final"]) for row in ended)
        self.context.claim("cancellations that ended", f"{len(rows)} of {len(rows)}", f"{final} of {len(rows)}")
        books, wanted = await self.sandbox.orders(), [*self._canceled["before"], *self._canceled["after"]]
        canceled = sum(books[order]["status"] == "canceled" for order in wanted)
        self.context.claim(
            "canceled in PlanOmatic's books", f"{len(wanted)} of {len(wanted)}", f"{canceled} of {len(wanted)}"
        )
        twice = sum(book["cancel_calls"] > 1 for book in books.values())
        self.context.claim("orders that were sent a second cancel", 0, twice)
        # The webhook of another one may have left the sandbox only after the kill: then it was told after all.
        silent = {str(msgspec.json.decode(sent.body)["order_id"]) for sent in self._untold}
        untold = len(silent)
        known = sum(row["state"] == "succeeded" for row in ended if row["order"] in silent)
        what = "sent after the backup, told by no webhook: ended by a probe"
        self.context.claim(what, f"{untold} of {untold}", f"{known} of {untold}", ok=0 < untold == known)
        others = sum(book["cancel_calls"] > 0 for order, book in books.items() if order not in wanted)
        self.context.claim("orders that were canceled without a request", 0, others)

    # -- 5: beside a run without a disaster --------------------------------------------------

    async def _compare(self) -> None:
        self.sender.resend(self._untold)
        await self._all_sent()
        claim = self.context.claim
        receipts = await self._rows("receipts")
        accepted = sum(row["status"] == "accepted" for row in receipts)
        number = len({sent.body for sent in self.sender.sent})
        claim("the provider's webhooks in the log, each once", number, accepted)
        await self.sender.stop()  # the calm run connects the sandbox to its own server, which hands out nothing then
        with Processes(keep=False) as processes:
            await processes.start(self.context.processes.sandbox_url)
            calm = Context(
                processes, self.context.console, self.context.report, self.context.http, self.context.receiver
            )
            rescind, sandbox = await connect(calm, PLANOMATIC)
            await sandbox.hold_webhooks()
            sender = Sender(rescind, sandbox)
            for body in dict.fromkeys(sent.body for sent in self.sender.sent):
                sender.sent.append(Sent(body))
            sender.start()
            sender.resend(sender.sent)
            await until(_idle(sender), "the calm run to take all webhooks", _WAIT)
            expected = await _states(rescind)
            await sender.stop()
        states = await _states(self.rescind)
        same = sum(states.get(order) == state for order, state in expected.items())
        claim(
            "orders and verdicts that equal those of a calm run",
            f"{len(expected)} of {len(expected)}",
            f"{same} of {len(states)}",
        )
        mismatches = (await self._command("rebuild", "--check"))["found"]
        claim("orders that differ when they are folded again", 0, mismatches)

    async def _rows(self, kind: str) -> list[Json]:
        return await self.rescind.rows(f"/v1/{kind}?account={PLANOMATIC.account}")

    async def _command(self, *arguments: str) -> Any:
        """Run `rescind` with --json, which must succeed; what it printed."""
        code, output = await self.context.processes.command(*arguments, "--json")
        self.context.console.call("you", f"rescind {' '.join(arguments)}", code)
        start, end = output.find("{"), output.rfind("}") + 1
        if code:
            raise RuntimeError(f"rescind {' '.join(arguments)}: {output}")
        return msgspec.json.decode(output[start:end])


def _idle(sender: Sender) -> Any:
    async def idle() -> bool:
        return sender.is_idle

    return idle


async def _states(rescind: Rescind) -> dict[str, Any]:
    """Of each order what a person acts by: phase, status, appointments, verdict."""
    rows = await rescind.rows(f"/v1/orders?account={PLANOMATIC.account}")
    return {row["id"]: tuple(_state(row)) for row in rows}


def _state(row: Json) -> Iterator[Any]:
    yield from (row["phase"], row["provider_status"], row["verdict"]["cancelable"], row["verdict"]["reason"])
    yield sorted((part["id"], part["status"], part["starts_at"]) for part in row["appointments"])


def _of(part: set[str], whole: set[str]) -> str:
    return f"{len(part)} of {len(whole)}"


def _with(path: Any, end: str) -> Any:
    return path.with_name(f"{path.name}{end}")

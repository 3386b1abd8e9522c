"""`rescind listen`: outbound webhooks on this machine, printed and forwarded as they happen."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect, segment
from app.cli.failure import MISUSED, AwayError, Failure, ProblemError
from app.cli.subscriptions import Accounts, Types, note_unmatched
from app.cli.times import rfc3339, shown

if TYPE_CHECKING:
    import aiohttp

WAIT_S = 20
"""How long the server waits for a message before it responds that there is none."""
BATCH = 20
LEASE = timedelta(hours=24)
"""The server deletes the subscription so long after the last sign of life, if this process could not."""
RETRY_S, OUTAGE_S = 1.0, 300.0
"""How often, and how long, the server is tried while it does not respond: a restart ends nothing."""
FORWARD_S = 30.0
"""Time limit of the server on this machine."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the local server responded."""

    status: int | None
    took_ms: int
    error: str = ""


Forward = Callable[[Mapping[str, Any]], Forwarded]


def listen(
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="Send each message there, signed, such as localhost:3000/hooks.")
    ] = None,
    events: Types = None,
    accounts: Accounts = None,
    full: Annotated[bool, typer.Option("--full", metavar="", help="With the order in each message.")] = False,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME:VALUE", help="Forwarded with each message; may be repeated."),
    ] = None,
    id: Annotated[
        str | None, typer.Option(metavar="ID", help="The subscription's id; continues one that --keep kept.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", metavar="", help="Hold messages for the next `listen` with this --id.")
    ] = False,
    secret: Annotated[
        str | None, typer.Option(metavar="SECRET", help="The signing secret (whsec_…). Default: a new one.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", "--print-json", metavar="", help="Print each message as a line of JSON.")
    ] = False,
) -> None:
    """Print outbound webhooks as they happen, and forward them to a server on this machine, until Ctrl-C."""
    if keep and id is None:
        raise typer.BadParameter("--keep needs --id, by which the next `listen` continues")
    target = None if forward_to is None else _url(forward_to)
    headers = dict(map(_header, header or ()))
    body: dict[str, Any] = {"id": id, "events": events, "accounts": accounts, "secret": secret}
    body = {name: value for name, value in body.items() if value}
    body |= {"payload": "full"} if full else {}
    body["description"] = "rescind listen"
    # The subscription is deleted also if the process is asked to end, or its terminal is closed: as by Ctrl-C, which
    # cancels the call under way. A shell starts what runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    with connect() as api:
        session = api.run(_open_session())
        try:
            with _subscription(api, body, keep=keep) as subscription:
                forward = None if target is None else _forwarder(api, session, target, headers)
                _announce(subscription, target)
                note_unmatched(api, accounts or ())
                path = f"/v1/subscriptions/{segment(subscription['id'])}"
                _Listener(api, path, forward, json).run()
        except KeyboardInterrupt:
            output.say(f"Stopped; `rescind listen --id {id} --keep` continues." if keep else "Stopped.")
        finally:
            api.run(session.close())


@contextmanager
def _subscription(api: Api, body: Mapping[str, Any], *, keep: bool) -> Iterator[dict[str, Any]]:
    """The subscription that is pulled: created or continued, and deleted at the end unless `keep`."""
    try:
        subscription: dict[str, Any] = api.post("/v1/subscriptions", {**body, **_lease()})
        subscription["secret"] = body.get("secret") or subscription["secret"]
    except ProblemError as problem:
        if problem.slug != "already-exists":
            raise
        subscription = _continued(api, body)
    try:
        yield subscription
    finally:
        if not keep:
            _delete(api, subscription["id"])


def _delete(api: Api, id: str) -> None:
    try:
        api.delete(f"/v1/subscriptions/{segment(id)}")
    except ProblemError:
        pass  # somebody else deleted it
    except Failure as failure:
        output.complain(f"{failure} Subscription {id} remains until the server deletes it, within a day.")


def _continued(api: Api, body: Mapping[str, Any]) -> dict[str, Any]:
    """An earlier subscription of `listen`, with its lease extended and a new secret. Raises `Failure`."""
    path = f"/v1/subscriptions/{segment(body['id'])}"
    existing: dict[str, Any] = api.get(path)
    if existing.get("url") or not existing.get("expires_at"):
        raise Failure(f"Subscription {body['id']} was not made by `rescind listen`: give another --id.", MISUSED)
    api.put(path, {**existing, **body, **_lease()})
    rotation = {"overlap_h": 0, **({"secret": body["secret"]} if "secret" in body else {})}
    rotated: dict[str, Any] = api.post(f"{path}/rotate", rotation)
    return {**rotated, "secret": body.get("secret") or rotated["secret"]}


def _announce(subscription: Mapping[str, Any], target: str | None) -> None:
    what = ", ".join(subscription["events"])
    where = f"; each is sent to {target}" if target else ""
    output.say(f"Listening to {what} as subscription {subscription['id']}{where}. Ctrl-C ends it.")
    output.say(f"Signing secret: {subscription['secret']}")


@dataclass(frozen=True, slots=True)
class _Listener:
    """Pulls messages of a subscription, and prints and forwards them."""

    api: Api
    path: str
    forward: Forward | None
    as_json: bool

    def run(self) -> None:
        """Go on until Ctrl-C."""
        renew_at = time.monotonic() + LEASE.total_seconds() / 2
        while True:
            self._step()
            if time.monotonic() >= renew_at:
                self._patiently(self._renew)
                renew_at = time.monotonic() + LEASE.total_seconds() / 2

    def _step(self) -> None:
        pulled = self._patiently(lambda: self.api.post(f"{self.path}/pull", {"limit": BATCH, "wait_s": WAIT_S}))
        messages = [message["id"] for message in pulled["data"]]
        for message in pulled["data"]:
            self._handle(message)
        if messages:
            self._patiently(lambda: self.api.post(f"{self.path}/ack", {"messages": messages}))

    def _handle(self, message: Mapping[str, Any]) -> None:
        content = msgspec.json.decode(message["body"])
        if not self.as_json:
            output.show(_line(message, content))
        result = None if self.forward is None else self.forward(message)
        if self.as_json:
            more = {} if result is None else {"forwarded": msgspec.to_builtins(result)}
            output.print_json({"id": message["id"], "headers": message["headers"], "body": content, **more}, indent=0)
        elif result is not None:
            output.show(_result_line(result))

    def _renew(self) -> None:
        self.api.put(self.path, {**self.api.get(self.path), **_lease()})

    def _patiently(self, call: Callable[[], Any]) -> Any:
        """The result of a call, which is repeated while the server is away: it may be restarting."""
        failed_at = time.monotonic()
        while True:
            try:
                return call()
            except AwayError:
                if time.monotonic() - failed_at > OUTAGE_S:
                    raise
            time.sleep(RETRY_S)


def _forwarder(api: Api, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> Forward:
    """Sends a message to `url`."""
    import aiohttp

    from app.runtime.http_client import explain

    async def send(message: Mapping[str, Any]) -> Forwarded:
        began = time.monotonic()
        status, error = None, ""
        try:
            body = message["body"].encode()
            async with session.post(url, data=body, headers={**message["headers"], **headers}) as response:
                status = response.status
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            error = explain(failure)
        return Forwarded(status, round((time.monotonic() - began) * 1000), error)

    return lambda message: api.run(send(message))


def _line(message: Mapping[str, Any], content: Mapping[str, Any]) -> Text:
    """A message on one line: when, what, about which order."""
    data, at = content["data"], shown(content["timestamp"])
    about = " ".join(output.clean(data[name]) for name in ("account", "order") if isinstance(data.get(name), str))
    id, test = output.clean(message["id"]), "  (test)" if data.get("test") else ""
    return Text.assemble((at, "dim"), f"  {output.clean(content['type'])}  {about}  ", (f"{id}{test}", "dim"))


def _result_line(result: Forwarded) -> Text:
    accepted = result.status is not None and HTTPStatus.OK <= result.status < HTTPStatus.MULTIPLE_CHOICES
    words = f"{result.status}" if result.status is not None else f"no response: {output.clean(result.error)}"
    return Text.assemble("    -> ", (words, "green" if accepted else "red"), f"  {result.took_ms} ms")


def _lease() -> dict[str, str]:
    return {"expires_at": rfc3339(datetime.now(UTC) + LEASE)}


def _url(text: str) -> str:
    """The URL to forward to; `3000/hooks` and `localhost:3000` mean this machine. Raises a usage error."""
    if text.partition("/")[0].isdigit():
        text = f"localhost:{text}"
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise typer.BadParameter(
            f"{text!r} is not a URL such as http://localhost:3000/hooks", param_hint="--forward-to"
        )
    return url


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name.strip() and colon):
        raise typer.BadParameter(f"{text!r} is not NAME:VALUE, such as X-Env:dev", param_hint="--header")
    return name.strip(), value.strip()


async def _open_session() -> aiohttp.ClientSession:
    import aiohttp

    # Without the API key, which the session of the API sends along.
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FORWARD_S), cookie_jar=aiohttp.DummyCookieJar())

"""The fence holds until the first byte: what is acknowledged while a call's connection is made stops the call (I3)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from providers import RETRIEVE_PATH, Provider
from servers import ACCOUNT, Rescind, account_of
from yarl import URL

from app.core.commands import CheckFence, Command

pytestmark = pytest.mark.usefixtures("quick")


@dataclass
class Gate:
    """Where connecting stands still."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    breaks: bool = False
    """The connection breaks instead of coming about, once."""

    async def passage(self) -> None:
        self.reached.set()
        await self.opened.wait()


def hold_up_names(rescind: Rescind, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up the provider's name takes until the gate opens."""
    connector: Any = rescind.node._session.connector
    resolve = connector._resolver.resolve

    async def slow(*arguments: Any, **more: Any) -> Any:
        await gate.passage()
        return await resolve(*arguments, **more)

    monkeypatch.setattr(connector._resolver, "resolve", slow)


def hold_up_connections(_rescind: Rescind, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The TCP connection takes until the gate opens."""
    start = aiohttp.connector.aiohappyeyeballs.start_connection

    async def slow(*arguments: Any, **more: Any) -> Any:
        await gate.passage()
        if gate.breaks:
            gate.breaks = False
            raise ConnectionResetError(104, "Connection reset by peer")
        return await start(*arguments, **more)

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", slow)


def certify(directory: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS for loopback, whose certificate our calls trust."""
    key, name = generate_private_key(SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = made.add_extension(names, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM)
    both = directory / "both.pem"
    both.write_bytes(certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setattr(
        aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cadata=certificate.decode())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(both)
    return server


@asynccontextmanager
async def relayed(url: str, tls: ssl.SSLContext, gate: Gate) -> AsyncIterator[str]:
    """Serves what is at `url` with TLS, whose handshake takes until the gate opens."""
    plain = URL(url)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
        writer.close()

    def relay(open_other: Callable[[], Any]) -> Callable[..., Any]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                other_reader, other_writer = await open_other()
            except BaseException:
                writer.close()
                raise
            tasks.add(asyncio.create_task(pump(other_reader, writer)))
            tasks.add(asyncio.create_task(pump(reader, other_writer)))

        return serve

    async def to_handshake() -> Any:
        await gate.passage()
        return await asyncio.open_connection("127.0.0.1", inner.sockets[0].getsockname()[1])

    async def to_provider() -> Any:
        return await asyncio.open_connection(plain.host, plain.port)

    inner = await asyncio.start_server(relay(to_provider), "127.0.0.1", 0, ssl=tls)
    outer = await asyncio.start_server(relay(to_handshake), "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{outer.sockets[0].getsockname()[1]}{plain.path}"
    finally:
        outer.close()
        inner.close()
        await asyncio.gather(*tasks)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def held_up(
    request: pytest.FixtureRequest,
    rescind: Rescind,
    provider: Provider,
    gate: Gate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Rescind]:
    """An account at a provider to which the first connection takes until the gate opens."""
    await placed(rescind, provider, "o-1")
    if request.param == "tls":
        async with relayed(provider.url, certify(tmp_path, monkeypatch), gate) as url:
            await rescind.put("accounts", ACCOUNT, account_of(url))
            yield rescind
            await rescind.stop()
        return
    url = provider.url.replace("127.0.0.1", "localhost")
    await rescind.put("accounts", ACCOUNT, account_of(url))
    {"dns": hold_up_names, "tcp": hold_up_connections}[request.param](rescind, gate, monkeypatch)
    yield rescind


every_way = pytest.mark.parametrize("held_up", ["dns", "tcp", "tls"], indirect=True)
one_way = pytest.mark.parametrize("held_up", ["tcp"], indirect=True)


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)


def count_rechecks(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> list[CheckFence]:
    execute_all, seen = rescind.node.ledger.execute_all, []

    async def watched(commands: Sequence[Command[Any]], **how: Any) -> Any:
        seen.extend(command for command in commands if isinstance(command, CheckFence))
        return await execute_all(commands, **how)

    monkeypatch.setattr(rescind.node.ledger, "execute_all", watched)
    return seen


@every_way
async def test_what_closes_the_window_while_we_connect_stops_the_call(
    held_up: Rescind, provider: Provider, gate: Gate
) -> None:
    id = await held_up.cancel("o-1")
    await gate.reached.wait()
    assert (await held_up.cancellation(id))["state"] == "sending"
    await held_up.tell("appointment.scheduled", "o-1")
    gate.opened.set()
    done = await held_up.settled(id)
    assert (done["state"], done["cause"], done["attempts"]) == ("revoked", "window_closed", 0)
    (evidence,) = done["evidence"]
    assert (await held_up.get(f"/v1/events/{evidence}"))["type"] == "appointment.scheduled"
    lane = held_up.node.lanes[ACCOUNT]
    await asyncio.gather(*lane._calling)
    assert await provider.calls() == []
    assert (lane.status().used, lane.status().running) == (0, 0), "the limit's place is given back"
    [attempt] = await held_up.node.store.attempts((await held_up.node.store.order(ACCOUNT, "o-1") or (0,))[0], 9)
    assert (attempt.outcome, attempt.calls, attempt.exchanges) == ("not_sent", 0, [])


@every_way
async def test_what_nothing_stops_is_sent_when_the_connection_stands(
    held_up: Rescind, provider: Provider, gate: Gate
) -> None:
    id = await held_up.cancel("o-1")
    await gate.reached.wait()
    gate.opened.set()
    assert (await held_up.settled(id))["state"] == "succeeded"
    assert len(await provider.calls()) == 1


@one_way
async def test_a_pause_while_we_connect_holds_the_call_back(held_up: Rescind, provider: Provider, gate: Gate) -> None:
    id = await held_up.cancel("o-1")
    await gate.reached.wait()
    assert (await held_up.ask("POST", "/v1/pause", {"account": ACCOUNT})).status == 200
    gate.opened.set()
    waiting = await held_up.settled(id, "scheduled")
    assert (waiting["attempts"], waiting["waiting"]["for"]) == (0, "paused")
    assert await provider.calls() == []
    assert (await held_up.ask("POST", "/v1/resume", {"account": ACCOUNT})).status == 200
    assert (await held_up.settled(id))["state"] == "succeeded"


@one_way
async def test_a_connection_that_breaks_meanwhile_sent_nothing(
    held_up: Rescind, provider: Provider, gate: Gate
) -> None:
    gate.breaks = True
    id = await held_up.cancel("o-1")
    await gate.reached.wait()
    gate.opened.set()
    assert (await held_up.settled(id))["state"] == "succeeded"
    assert await held_up.states("o-1") == ["scheduled", "sending", "scheduled", "sending", "succeeded"]
    assert await provider.calls(RETRIEVE_PATH) == [], "nothing is in doubt"


@one_way
async def test_a_probe_passes_whatever_came_in(
    held_up: Rescind, provider: Provider, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    rechecks = count_rechecks(held_up, monkeypatch)
    await provider.create("o-9")
    id = await held_up.cancel("o-9")
    await gate.reached.wait()
    await held_up.tell("order.processed", "o-9")
    gate.opened.set()
    assert (await held_up.settled(id))["state"] == "succeeded"
    assert len(await provider.calls(RETRIEVE_PATH)) == 1
    assert rechecks == []


async def test_on_a_connection_that_stands_the_claim_is_the_fence(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is awaited between the claim and the first byte, so a second question would say nothing new."""
    monkeypatch.setattr(rescind.node._session.connector, "_keepalive_timeout", 3600)
    await placed(rescind, provider, "o-1", "o-2")
    rechecks = count_rechecks(rescind, monkeypatch)
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert [each.order for each in rechecks] == ["o-1"], "the first call had to connect"
    assert (await rescind.settled(await rescind.cancel("o-2")))["state"] == "succeeded"
    assert [each.order for each in rechecks] == ["o-1"]

"""`rescind serve` under a service manager: readiness, signs of life, and sockets that outlive the process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from providers import WAIT_S, until
from servers import ACCOUNT, ENDPOINT, Api, Server, account_of, endpoint_of, webhook

WATCHDOG_S = 2.0
HANGS = """
import signal
from pathlib import Path
def stand_still(*_):
    Path("hangs").touch()
    while True:
        signal.pause()
signal.signal(signal.SIGUSR1, stand_still)
"""
"""By a signal the event loop stands still."""
INHERITS = """
import os, socket
with socket.socket(socket.AF_UNIX) as line:
    line.connect("sockets")
    _, fds, _, _ = socket.recv_fds(line, 1, 1)
assert not os.path.exists("/proc/self/fd/3")
os.dup2(fds[0], 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="rescind.socket")
"""
"""File descriptor 3 is the socket that the test holds."""


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What the process tells its service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(f"{tmp_path}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        reader.settimeout(WAIT_S)
        yield reader


async def test_a_process_says_when_it_is_ready_and_gives_no_sign_of_life_while_its_loop_stands_still(
    tmp_path: Path, session: aiohttp.ClientSession, notices: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", f"{WATCHDOG_S * 1e6:.0f}")
    server = Server(tmp_path, session, prelude=HANGS)
    await server.start()
    told = [""]
    while not told[-1].startswith("STATUS=Ready"):
        told += (await asyncio.to_thread(notices.recv, 4096)).decode().split("\n")
    assert told[1:3] == ["EXTEND_TIMEOUT_USEC=60000000", "STATUS=Loading the configuration"]
    assert told[-3:] == ["READY=1", "WATCHDOG=1", f"STATUS=Ready at {server.url}: 0 accounts"]
    os.kill(server.pid, signal.SIGUSR1)

    async def hangs() -> bool:
        return (tmp_path / "hangs").exists()

    await until(hangs, "the loop stands still")
    notices.settimeout(WATCHDOG_S)
    with suppress(TimeoutError):
        for _ in range(100):  # what it had told before
            await asyncio.to_thread(notices.recv, 4096)
        pytest.fail("it goes on giving signs of life")
    # As the service manager does then: the log says where it stood.
    assert await server._end(signal.SIGABRT) == -signal.SIGABRT
    assert "in stand_still" in server.log.read_text()


async def test_a_server_that_is_asked_to_stop_says_so(
    tmp_path: Path, session: aiohttp.ClientSession, notices: socket.socket
) -> None:
    server = Server(tmp_path, session)
    await server.start()
    assert await server.stop() == 0
    notices.setblocking(False)
    told: list[str] = []
    with suppress(BlockingIOError):
        while True:
            told.append(notices.recv(4096).decode())
    assert not any("WATCHDOG" in line for line in told)  # nobody asked for it
    assert told[-1].startswith("STOPPING=1\nSTATUS=Stopping")


async def test_connections_wait_for_the_next_process_on_an_inherited_socket(
    tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = asyncio.Event()
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_server("sockets", family=socket.AF_UNIX) as line,
    ):

        async def start() -> None:
            starting = asyncio.create_task(server.start())
            asked, _ = await asyncio.to_thread(line.accept)
            with asked:
                socket.send_fds(asked, [b"."], [listening.fileno()])
            await starting

        server = Server(tmp_path, session, prelude=INHERITS)
        server.port = 1  # not there
        await start()
        assert server.url == f"http://127.0.0.1:{listening.getsockname()[1]}"
        await server.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
        await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        sending = [asyncio.create_task(_send(server, f"s-{n}", stopped)) for n in range(8)]
        await until(lambda: _recorded(server, 40), "webhooks come")
        assert await server.stop() == 0
        stopped.set()
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        # Their last connections wait as well.
        hooks = [asyncio.create_task(server.hook(webhook("order.processed", f"o-{n}"))) for n in range(90)]
        # No server runs, and all are connected.
        await until(lambda: _connected(90 + len(sending), listening), "connections")
        assert not any(hook.done() for hook in hooks)
        await start()
        assert [(await hook).status for hook in hooks] == [200] * 90
        assert len(await server.pages("/v1/orders", 500)) == 90 + sum([await sender for sender in sending])
        await server.stop()


async def _send(server: Server, name: str, stopped: asyncio.Event) -> int:
    """Send webhooks, each on a connection of its own, until the first after `stopped`; all must be accepted."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        api = Api(server.url, session)
        number = 0
        while not stopped.is_set():
            number += 1
            await api.tell("order.processed", f"{name}-{number}")
        return number


async def _recorded(server: Server, number: int) -> bool:
    return len(await server.pages("/v1/orders", 500)) >= number


async def _connected(number: int, listening: socket.socket) -> bool:
    """Whether so many connections wait in the socket's backlog."""
    port = f":{listening.getsockname()[1]:04X}"
    lines = (await asyncio.to_thread(Path("/proc/net/tcp").read_text)).splitlines()[1:]
    established = "01"
    return sum(line.split()[1].endswith(port) and line.split()[3] == established for line in lines) >= number


async def test_a_socket_that_cannot_be_served_ends_the_start_with_what_to_do(
    tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    server = Server(tmp_path, session, prelude="import os; os.environ['LISTEN_PID'] = str(os.getpid())")
    assert await server.fails_to_start() == 1
    assert "File descriptor 3 (unnamed) of socket activation cannot be served" in server.log.read_text()
    assert not (tmp_path / "rescind.db").exists()

"""What the service manager is told, over real sockets, and what it hands over."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.runtime import service_manager as module
from app.runtime.service_manager import InheritedSocketError, ServiceManager


@contextmanager
def listener(address: str) -> Iterator[socket.socket]:
    """The other end: what systemd reads. Nothing that was sent is waited for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(address)
        reader.setblocking(False)
        yield reader


def heard(reader: socket.socket) -> list[str]:
    """All lines that were sent so far, in turn."""
    lines = []
    while True:
        try:
            lines += reader.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


async def idle() -> str:
    return "Ready"


async def untold() -> str:
    raise RuntimeError("no state")


def works() -> str:
    return ""


async def test_what_is_told_in_the_life_of_a_process(tmp_path: Path) -> None:
    for address, bound in (
        (f"{tmp_path}/notify", f"{tmp_path}/notify"),
        (f"@rescind-test-{os.getpid()}", f"\0rescind-test-{os.getpid()}"),
    ):
        with listener(bound) as reader:
            environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "OTHER": "stays"}
            manager = ServiceManager.from_environment(environment)
            assert environment == {"OTHER": "stays"}  # a child must not speak for the server
            async with manager.starting():
                await asyncio.sleep(0)
                assert heard(reader) == ["EXTEND_TIMEOUT_USEC=60000000"]
                manager.show("Migrating:\nstep 1 of 2")
                assert heard(reader) == ["STATUS=Migrating: step 1 of 2"]
            async with manager.ready(works, idle):
                await asyncio.sleep(0)
                assert heard(reader) == ["READY=1", "WATCHDOG=1", "STATUS=Ready"]
            manager.stopping("Stopping")
            assert heard(reader) == ["STOPPING=1", "STATUS=Stopping"]


async def test_beats_go_on_at_half_the_interval_and_stop_while_only_a_restart_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter(["", "the ledger is stuck", "the ledger is stuck", ""])
    slept: list[float] = []
    ended = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            ended.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    with listener(f"{tmp_path}/notify") as reader:
        environment = {
            "NOTIFY_SOCKET": f"{tmp_path}/notify",
            "WATCHDOG_USEC": "3000000",
            "WATCHDOG_PID": f"{os.getpid()}",
        }
        async with ServiceManager.from_environment(environment).ready(lambda: next(faults), idle):
            async with asyncio.timeout(60):
                await ended.wait()
        stuck = ["READY=1", "STATUS=Needs a restart: the ledger is stuck"]
        alive = ["READY=1", "WATCHDOG=1", "STATUS=Ready"]
        assert heard(reader) == [*alive, *stuck, *stuck, *alive]
        assert slept == [1.5] * 4


async def test_beats_go_on_though_the_state_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        beats.append(seconds)
        if len(beats) == 2:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    with listener(f"{tmp_path}/notify") as reader:
        environment = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "3000000"}
        async with ServiceManager.from_environment(environment).ready(works, untold):
            async with asyncio.timeout(60):
                await enough.wait()
        assert [line for line in heard(reader) if "=1" in line] == ["READY=1", "WATCHDOG=1"] * 2


async def test_a_watchdog_of_another_process_is_not_this_ones(tmp_path: Path) -> None:
    for more in ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {}):
        (tmp_path / "notify").unlink(missing_ok=True)
        with listener(f"{tmp_path}/notify") as reader:
            manager = ServiceManager.from_environment({"NOTIFY_SOCKET": f"{tmp_path}/notify", **more})
            async with manager.ready(works, idle):
                await asyncio.sleep(0)
            assert heard(reader) == ["READY=1", "STATUS=Ready"], more


async def test_nobody_to_tell(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": f"{tmp_path}/gone"}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        manager = ServiceManager.from_environment(environment)
        async with manager.starting(), manager.ready(works, idle):
            manager.show("Loading")
            await asyncio.sleep(0)
        manager.stopping("Stopping")
        assert not manager.sockets


def test_sockets_are_inherited_by_the_process_that_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        monkeypatch.setattr(module, "FIRST_FD", os.dup(ours.fileno()))
        os.set_inheritable(module.FIRST_FD, True)
        for_another = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "http"}
        assert not ServiceManager.from_environment(for_another).sockets
        assert not for_another
        environment = {"LISTEN_FDS": "1", "LISTEN_PID": f"{os.getpid()}"}
        (inherited,) = ServiceManager.from_environment(environment).sockets
        with inherited:
            assert inherited.getsockname() == ours.getsockname()
            assert not inherited.get_inheritable()
            assert not environment


def test_a_socket_that_cannot_be_served_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": f"{os.getpid()}", "LISTEN_FDNAMES": "rescind.socket"}
    with socket.socket() as bound, socket.socket(socket.AF_UNIX) as local, Path(os.devnull).open("rb") as file:
        bound.bind(("127.0.0.1", 0))
        for fd in (bound.fileno(), local.fileno(), file.fileno()):
            with os.fdopen(os.dup(fd), closefd=fd == file.fileno()) as given:
                monkeypatch.setattr(module, "FIRST_FD", given.fileno())
                with pytest.raises(InheritedSocketError, match=r"\(rescind.socket\).*ListenStream="):
                    ServiceManager.from_environment(dict(environment))

"""The service manager that started this process, such as systemd.

It hears what the process does, restarts it when the signs of life stop (watchdog), and may hold the listening sockets
(socket activation), so that connections wait while the process restarts. The protocols are those of sd_notify(3),
sd_watchdog_enabled(3) and sd_listen_fds(3). Without their variables in the environment nothing is sent or inherited.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

FIRST_FD = 3
"""Inherited sockets follow standard input, output and error."""
EXTENSION_S = 60.0
"""A start that goes on may take so much longer each time it says so."""
BEAT_S = 10.0
"""How often it is told the state, or at half the watchdog's interval if that is shorter."""

log = structlog.get_logger()


class InheritedSocketError(Exception):
    """A socket that the service manager hands over is none to listen on."""


class ServiceManager:
    """What one process tells its service manager, and gets from it."""

    def __init__(
        self, address: str = "", watchdog_s: float | None = None, sockets: Sequence[socket.socket] = ()
    ) -> None:
        """Make one.

        Args:
            address: the notification socket: a path, or an abstract name with `@` in front. "": nobody listens.
            watchdog_s: the process is killed when it gave no sign of life for so long; None: never.
            sockets: listening sockets that were handed over.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watched = watchdog_s is not None
        self._beat_s = min(BEAT_S, watchdog_s / 2) if watchdog_s else BEAT_S
        self.sockets = sockets

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """The one that the environment describes. Its variables are taken out: they are not for children.

        Raises `InheritedSocketError`.
        """
        sockets = _inherited(environment)
        address = environment.pop("NOTIFY_SOCKET", "")
        if address and not address.startswith(("/", "@")):
            log.warning("notify_socket_unsupported", address=address, hint="a path, or @ and an abstract name")
            address = ""
        interval, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watched = interval.isdecimal() and int(interval) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(interval) / 1e6 if watched else None, sockets)

    def show(self, status: str) -> None:
        """Show what the process does now, a line for people: `systemctl status` has it."""
        self._send(_status(status))

    def tell(self, *lines: str) -> None:
        """Send lines of the protocol as they are."""
        self._send(*lines)

    def stopping(self, status: str) -> None:
        """Say that the process ends."""
        self._send("STOPPING=1", _status(status))

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Extend the time limit of the start while what is inside runs: a migration takes as long as it takes."""
        extending = asyncio.create_task(self._extend())
        try:
            yield
        finally:
            extending.cancel()
            with suppress(asyncio.CancelledError):
                await extending

    async def _extend(self) -> None:
        while self._address:
            self._send(f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 1e6:.0f}")
            await asyncio.sleep(BEAT_S)

    @asynccontextmanager
    async def ready(self, fault: Callable[[], str], status: Callable[[], Awaitable[str]]) -> AsyncIterator[None]:
        """Say that the process is ready; then give signs of life and show the status while what is inside runs.

        Args:
            fault: says why only a restart helps; while it does, there is no sign of life. "": it works.
            status: gives the line for people.
        """
        beating = asyncio.create_task(self._beat(fault, status))
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _beat(self, fault: Callable[[], str], status: Callable[[], Awaitable[str]]) -> None:
        logged = ""
        while self._address:
            broken = fault()
            # Nothing is lost if one of them is: each beat says again that it is ready.
            self._send("READY=1", *(["WATCHDOG=1"] if self._watched and not broken else []))
            if broken != logged:
                logged = broken
                log.error("needs_restart", reason=broken) if broken else log.info("works_again")
            self.show(f"Needs a restart: {broken}" if broken else await _told(status))
            await asyncio.sleep(self._beat_s)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                log.debug("not_notified", error=str(error))


async def _told(status: Callable[[], Awaitable[str]]) -> str:
    """The line for people. A server for which there is none is as alive: its signs of life must not end."""
    try:
        return await status()
    except Exception:
        log.exception("status_failed")
        return "Works, but its state could not be told: see status_failed in the log"


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"


def _inherited(environment: MutableMapping[str, str]) -> list[socket.socket]:
    number, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not number.isdecimal():
        return []
    sockets = []
    for place in range(int(number)):
        name = (names[place] if place < len(names) else "") or "unnamed"
        try:
            inherited = socket.socket(fileno=FIRST_FD + place)
            is_tcp = inherited.family in (socket.AF_INET, socket.AF_INET6) and inherited.type == socket.SOCK_STREAM
            listens = bool(inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError as error:
            raise InheritedSocketError(_refusal(name, place, str(error))) from error
        if not is_tcp or not listens:
            inherited.close()
            raise InheritedSocketError(_refusal(name, place, "it is no TCP socket that listens"))
        inherited.set_inheritable(False)
        sockets.append(inherited)
    return sockets


def _refusal(name: str, place: int, why: str) -> str:
    return (
        f"file descriptor {FIRST_FD + place} ({name}) of socket activation cannot be served: {why}. Give ListenStream= "
        "of the socket unit a port, or an address and a port, and leave Accept= at no"
    )

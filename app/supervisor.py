"""Several worker processes behind one port: started, watched, started again when they end, and stopped in order.

The supervisor only forks. It holds the listening sockets, one for each worker (SO_REUSEPORT, so that connections are
spread evenly): those that wait when a worker ends are accepted by its successor.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

from app.config.settings import Settings
from app.runtime import log as logs
from app.runtime.redaction import Redactor
from app.runtime.service_manager import ServiceManager
from app.serve import STOP_S, Place
from app.web.server import BACKLOG

SILENT_S = 60.0
"""A worker that gave no sign of life for so long is ended by SIGABRT: where it hung is then in the log."""
BACKOFF_MAX_S = 30.0
LIVED_S = 30.0
"""A worker that lived for so long is started again at once."""
_LOOK_S = 1.0
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


@dataclass(slots=True)
class _Worker:
    number: int
    sockets: Sequence[socket.socket]
    line: socket.socket
    """Where it says that it is ready, and that it lives."""
    pid: int = 0
    """0: it does not run."""
    ready: bool = False
    failures: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    heard_at: float = 0.0
    status: str = field(default="")


def supervise(settings: Settings, workers: int) -> Place | None:
    """Fork so many workers. Returns in each of them its place, and None in the supervisor when all have ended.

    Raises `OSError` if the port cannot be had, and `SystemExit` if the first worker cannot start: it said why.
    """
    logs.set_up(settings.log_format, settings.log_level, Redactor(settings.secrets))
    manager = ServiceManager.from_environment(os.environ)
    shared = [[*manager.sockets] for _ in range(workers)] if manager.sockets else listening(settings, workers)
    return _Supervisor(settings, manager, shared).run()


def listening(settings: Settings, workers: int) -> list[list[socket.socket]]:
    """For each worker a socket at each address of the host, all at one port."""
    infos = socket.getaddrinfo(settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((info[0], info[4]) for info in infos))
    for family, address in addresses:
        # With SO_REUSEPORT alone, another program of this user at this port would go unnoticed.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    port = settings.port
    opened: list[list[socket.socket]] = []
    for _ in range(workers):
        theirs = []
        for family, (host, _port, *rest) in addresses:
            made = socket.socket(family)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((host, port, *rest))
            port = made.getsockname()[1]
            made.listen(BACKLOG)
            theirs.append(made)
        opened.append(theirs)
    return opened


class _Supervisor:
    def __init__(self, settings: Settings, manager: ServiceManager, sockets: Sequence[Sequence[socket.socket]]) -> None:
        self._manager, self._stop_s = manager, STOP_S + settings.drain_s
        self._directory = Path(tempfile.mkdtemp(prefix="rescind-workers-"))
        self._woken, self._waker = socket.socketpair()
        self._signals: list[int] = []
        self._pid = os.getpid()
        self._stopping_at: float | None = None
        self._told = ""
        self._workers = []
        for number, theirs in enumerate(sockets, 1):
            line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            line.bind(str(self._directory / f"{number}.notify"))
            line.setblocking(False)
            self._workers.append(_Worker(number, theirs, line))

    def run(self) -> Place | None:
        """See `supervise`."""
        self._listen_to_signals()
        gc.freeze()  # what is shared with the workers stays shared
        try:
            while not self._is_over():
                place = self._start_due()
                if place is not None:
                    return place
                self._wait()
        except BaseException:
            self._signal_all(signal.SIGKILL)
            raise
        shutil.rmtree(self._directory, ignore_errors=True)
        return None

    def _is_over(self) -> bool:
        return self._stopping_at is not None and not any(worker.pid for worker in self._workers)

    def _start_due(self) -> Place | None:
        """Start the workers that are to run; returns in each of them its place."""
        first, *_ = self._workers
        for worker in self._workers:
            if worker.pid or self._stopping_at is not None or monotonic() < worker.start_at:
                continue
            if worker is not first and not first.ready and not worker.started_at:
                continue  # the first one migrates, and says what is wrong with the settings
            is_first = not worker.started_at and worker is first
            worker.started_at = worker.heard_at = monotonic()
            worker.pid = os.fork()
            if worker.pid == 0:
                return self._become(worker, is_first=is_first)
            log.info("worker_started", worker=worker.number, pid=worker.pid)
        return None

    def _become(self, worker: _Worker, *, is_first: bool) -> Place:
        """What is the supervisor's alone is closed, and not deleted."""
        signal.set_wakeup_fd(-1)
        for number in (*_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _end_with_parent(self._pid)
        for other in self._workers:
            other.line.close()
            if other is not worker:
                for theirs in other.sockets:
                    if theirs not in worker.sockets:
                        theirs.close()
        self._woken.close()
        self._waker.close()
        address = str(self._directory / f"{worker.number}.notify")
        manager = ServiceManager(address, SILENT_S, worker.sockets)
        return Place(worker.number, len(self._workers), self._directory, manager, is_first=is_first)

    def _listen_to_signals(self) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno())
        for number in _SIGNALS:
            signal.signal(number, lambda given, _frame: self._signals.append(given))
        signal.signal(signal.SIGCHLD, lambda _given, _frame: None)

    def _wait(self) -> None:
        lines = {worker.line: worker for worker in self._workers}
        ready, _, _ = select.select([self._woken, *lines], [], [], _LOOK_S)
        if self._woken in ready:
            with suppress(BlockingIOError):
                self._woken.recv(4096)
        for line in ready:
            if line in lines:
                self._hear(lines[line])
        for number in self._signals:
            self._stop(number)
        self._signals.clear()
        for worker in self._workers:
            self._look_after(worker)
        self._tell()

    def _hear(self, worker: _Worker) -> None:
        with suppress(BlockingIOError):
            while True:
                for text in worker.line.recv(65_536).decode(errors="replace").splitlines():
                    if text == "READY=1":
                        worker.ready = True
                    elif text == "WATCHDOG=1":
                        worker.heard_at = monotonic()
                    elif text.startswith("EXTEND_TIMEOUT_USEC="):
                        worker.heard_at = monotonic()
                        self._manager.tell(text)
                    elif text.startswith("STATUS="):
                        worker.status = text.removeprefix("STATUS=")

    def _stop(self, number: int) -> None:
        if self._stopping_at is not None:
            self._signal_all(signal.SIGKILL)
            sys.exit(128 + number)
        self._stopping_at = monotonic()
        self._manager.stopping("Stopping: requests and calls under way end first")
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _look_after(self, worker: _Worker) -> None:
        if not worker.pid:
            return
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        now = monotonic()
        if pid:
            self._ended(worker, os.waitstatus_to_exitcode(status), now)
        elif self._stopping_at is not None and now - self._stopping_at > self._stop_s:
            os.kill(worker.pid, signal.SIGKILL)
        elif worker.ready and self._stopping_at is None and now - worker.heard_at > SILENT_S:
            log.error("worker_hangs", worker=worker.number, pid=worker.pid, silent_s=round(now - worker.heard_at))
            worker.heard_at = now
            os.kill(worker.pid, signal.SIGABRT)

    def _ended(self, worker: _Worker, code: int, now: float) -> None:
        was_ready, lived_s = worker.ready, now - worker.started_at
        worker.pid, worker.ready, worker.status = 0, False, ""
        if self._stopping_at is not None:
            return
        if not was_ready and not any(other.ready or other.failures for other in self._workers):
            self._signal_all(signal.SIGTERM)
            shutil.rmtree(self._directory, ignore_errors=True)
            sys.exit(code if code > 0 else 1)
        worker.failures = 0 if lived_s > LIVED_S else worker.failures + 1
        wait_s = min(BACKOFF_MAX_S, 0.5 * 2 ** (worker.failures - 1)) if worker.failures > 1 else 0.0
        worker.start_at = now + wait_s
        how = {"signal": signal.Signals(-code).name} if code < 0 else {"code": code}
        log.error("worker_ended", worker=worker.number, lived_s=round(lived_s), starts_in_s=wait_s, **how)

    def _tell(self) -> None:
        """Tell the service manager: ready when all are, and alive as long as the supervisor is."""
        running = sum(worker.ready for worker in self._workers)
        lines = [f"STATUS={running} of {len(self._workers)} workers are ready; {self._workers[0].status}"]
        if running == len(self._workers):
            lines.append("READY=1")
        told = "\n".join(lines)
        if self._stopping_at is None and told != self._told:
            self._told = told
            self._manager.tell(*lines)
        self._manager.tell("WATCHDOG=1")


def _end_with_parent(parent: int) -> None:
    """Stop in order when the supervisor is killed: nobody would start this worker again, or stop it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

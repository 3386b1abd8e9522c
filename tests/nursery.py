"""A process that has imported all of Rescind, and forks others that become commands; see `processes`."""

from __future__ import annotations

import gc
import io
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

MESSAGE_MAX = 1 << 20


def _serve(line: socket.socket) -> Callable[[], object]:
    """Fork for every job; returns in the processes that were forked, with what is to be done there."""
    lines: dict[int, socket.socket] = {}
    ended, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(ended, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([line, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _tell_ends(lines)
        if line not in ready:
            continue
        job, fds, _, _ = socket.recv_fds(line, MESSAGE_MAX, 4)
        if not job:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for each in (line, *lines.values()):
                each.close()
            for fd in (ended, woken, fds[0]):
                os.close(fd)
            return lambda: _run(json.loads(job), fds[1:])
        told = lines[pid] = socket.socket(fileno=fds[0])
        told.send(str(pid).encode())
        for fd in fds[1:]:
            os.close(fd)


def _tell_ends(lines: dict[int, socket.socket]) -> None:
    while lines:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        line = lines.pop(pid)
        try:
            line.send(str(os.waitstatus_to_exitcode(status)).encode())
        except OSError:  # whoever asked for it has ended
            continue
        finally:
            line.close()


def _run(job: dict[str, Any], streams: list[int]) -> None:
    """Become the process that was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    time.tzset()
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout = sys.__stdout__ = _writer(1, "strict")
    sys.stderr = sys.__stderr__ = _writer(2, "backslashreplace")
    sys.argv = [str(Path(sys.executable).with_name("rescind")), *job["args"]]
    exec(job["prelude"], {})  # noqa: S102 - it is the test's
    sys.exit(sys.modules["app.cli.main"].main())


def _writer(fd: int, errors: str) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(fd, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=os.isatty(fd) or fd == 2)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    for _name in ("app.cli.main", "app.dev.demo", "app.dev.sandbox", "app.serve", "app.config.registry"):
        import_module(_name)
    sys.modules["app.config.registry"].handlers()
    import_module("tests.budgets").lift()
    # Or else each fork's collector, and its exit, would touch and so copy all that was imported: 0.45 s each, not 0.1.
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))()

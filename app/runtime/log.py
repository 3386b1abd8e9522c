"""Structured logging, with secrets removed."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from time import monotonic
from typing import Any, TextIO, cast

import structlog

from app.runtime import tracing
from app.runtime.redaction import Redactor


class LogLimiter:
    """Limits how often a repeated line is logged, for each key by itself."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, key: str = "", *, every_s: float | None = None, now: float | None = None) -> int | None:
        """How many lines of `key` were suppressed since the last one, if one may be logged now; else None.

        Args:
            key: what the lines are about. Keys are kept: they must be few.
            every_s: in place of the limiter's own interval, in seconds.
            now: on the monotonic clock, in seconds.
        """
        now = monotonic() if now is None else now
        last = self._logged_at.get(key)
        if last is not None and now - last < (self._every_s if every_s is None else every_s):
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return None
        self._logged_at[key] = now
        return self._suppressed.pop(key, 0)


class _Unfailing:
    """A stream that drops what it cannot write: neither a full disk nor a closed file stops a process that logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: it is closed
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def set_up(format: str, level: str, redactor: Redactor) -> None:
    """Log to standard error, as JSON or for people."""
    renderer: Any = structlog.dev.ConsoleRenderer() if format == "console" else structlog.processors.JSONRenderer()

    def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            event[key] = redactor.clean_value(value)
        return event

    def add_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if tracing.on:
            event.update(tracing.ids())
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    # Malformed HTTP gets a 400 and is not logged: it may contain a token, and strangers must not fill the log.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL + 1)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")

"""A stream of log lines that cannot be written stops nobody who logs."""

from __future__ import annotations

import io

from app.runtime.log import _Unfailing


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_lines_for_a_closed_or_full_stream_are_dropped() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, Full()):
        lines = _Unfailing(stream)
        assert lines.write("what happened\n") == 0
        lines.flush()

"""Templates of the console, and how they show times, durations and states."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app import __version__
from app.web.console.layout import is_json, lay_out

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_TONES = {
    "good": ("yes", "succeeded", "accepted", "delivered", "enforce", "idle", "active", "admin", "ok"),
    "live": ("scheduled", "sending", "send", "pending", "open", "in_progress", "approve", "write", "rate_limited"),
    "warn": (
        "unknown",
        "indeterminate",
        "quarantined",
        "paused",
        "shadow",
        "throttled",
        "notice",
        "expired",
        "held",
        "probe",
    ),
    "bad": (
        "no",
        "refused",
        "failed",
        "rejected",
        "breaker_open",
        "disabled",
        "fault",
        "halted",
        "failing",
        "silent",
        "reject",
        "invalid",
    ),
}
_MARKS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_MARKS |= {
    code: f"[U+{code:04X}]" for code in (*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
}
_TONE = {state: tone for tone, states in _TONES.items() for state in states}


def render(template: str, **context: Any) -> str:
    """A template with its variables. Whatever is not HTML of the console's own is escaped."""
    return _environment().get_template(template).render(now=datetime.now(UTC), **context)


@cache
def compile_templates() -> None:
    """Compile all templates, in a thread: the first use of one would hold up the event loop for up to 0.2 s."""
    for name in _environment().list_templates():
        _environment().get_template(name)


def is_compiled() -> bool:
    """Whether they are."""
    return compile_templates.cache_info().currsize > 0


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,  # A misspelled member is an error, and no empty place in a page.
        auto_reload=False,
        cache_size=-1,
    )
    environment.globals.update(asset=asset, path=path, version=__version__)
    environment.filters.update(
        absolute=absolute,
        relative=relative,
        duration=duration,
        tone=tone,
        words=words,
        pretty=pretty,
        link_query=link_query,
        number=number,
        utc_input=utc_input,
        visible=visible,
    )
    return environment


@cache
def asset(name: str) -> str:
    """The URL of a file, which changes with its content."""
    digest = sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def path(*segments: str, **query: Any) -> str:
    """A path of the console: `path("orders", account, order, at=…)`. Empty parameters are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    joined = "/" + "/".join(quote(str(segment), safe="") for segment in segments)
    return f"{joined}?{urlencode(given)}" if given else joined


def absolute(time: str | None) -> str:
    """`2026-03-02 09:30:05 UTC` of an RFC 3339 time; a dash without one."""
    return "-" if not time else f"{_moment(time):%Y-%m-%d %H:%M:%S} UTC"


def relative(time: str | None, now: datetime) -> str:
    """`in 43 min`, `2 h ago`; a dash without a time."""
    if not time:
        return "-"
    seconds = (_moment(time) - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def duration(seconds: float) -> str:
    """`43 min`, `2 h 5 min`, `3 d 4 h`: the two largest units; of minutes, only these."""
    rest = int(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    shown = parts[:1] if parts and parts[0][1] == "min" else parts[:2]
    return " ".join(f"{count} {unit}" for count, unit in shown if count) or "0 s"


def number(value: float) -> str:
    """`12,345` and `1.22`."""
    return f"{value:,}"


def utc_input(time: str) -> str:
    """A time of a URL as a field `datetime-local` takes it, in UTC; nothing if it is none."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return ""
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%dT%H:%M:%S}"


def tone(state: str | None) -> str:
    """The color class of a state: good, live, warn, bad or plain."""
    return _TONE.get(str(state), "plain")


def words(name: str | None) -> str:
    """`in_progress` as `in progress`."""
    return str(name or "").replace("_", " ")


def pretty(value: Any, limit: int | None = None) -> str:
    """JSON with indentation, of a value or of text that is JSON; other text as it is. Cut after `limit` characters."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if limit is not None:
        shown, cut = lay_out(text, limit) if is_json(text) else (text[:limit], len(text) > limit)
        return f"{shown}\n…" if cut else shown
    try:
        return msgspec.json.format(text.encode(), indent=2).decode()
    except (msgspec.DecodeError, UnicodeError):
        return text


def visible(text: str) -> str:
    """Text from outside with marks for what cannot be seen: control characters, and those that turn the direction."""
    return text.translate(_MARKS)


def link_query(query: Mapping[str, str], **changed: Any) -> str:
    """The query string of a page with some parameters changed; None removes one. Without its account an order goes."""
    merged = {**query, **changed}
    if merged.get("account") != query.get("account"):
        merged.pop("order", None)
    return urlencode({name: value for name, value in merged.items() if value not in (None, "")})


def _moment(time: str) -> datetime:
    return datetime.fromisoformat(time)

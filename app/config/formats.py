"""What a subscription's format allows: its URL, its options, when it is told what; and how its URL is shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import time, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from app.config.mail_address import check_address
from app.config.models import Span
from app.contract.zones import check_zone
from app.core.outbound.notices.template import BODY_CHARS_MAX, HEADER_CHARS_MAX
from app.core.outbound.schedule import EVERY_DAY, QuietHours
from app.kit.destinations import EVERYWHERE, fault_in_url
from app.kit.duration import parse_duration
from app.runtime.redaction import REDACTED

Format = Literal["standard", "slack", "email", "pagerduty", "template"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
DIGEST_MIN, DIGEST_MAX = timedelta(minutes=1), timedelta(days=7)
RECIPIENTS_MAX = 50
SECRET_PART_MIN = 12
"""Characters. Longer parts of a secret URL are removed wherever they stand alone."""
_FORMATS_OF = {
    "routing_key": ("pagerduty",),
    "template": ("template",),
    "digest": ("slack", "email", "template"),
    "quiet_hours": ("slack", "email", "pagerduty", "template"),
    "urgent": ("slack", "email", "pagerduty", "template"),
    "approval_links": ("slack", "email", "pagerduty", "template"),
    "headers": ("standard", "slack", "pagerduty", "template"),
    "ordered": ("standard", "pagerduty", "template"),
    "secret": ("standard", "template"),
    "retired_secrets": ("standard", "template"),
}
"""Option → the formats that it belongs to; options that are not here belong to all."""
SIGNED = _FORMATS_OF["secret"]
"""Formats whose requests are signed."""
_SECRET_URLS = ("slack", "template")
"""Formats whose URL is a capability: anyone who has it can post."""
_REQUIRED = {"routing_key": "the integration key of an Events API v2 integration", "template": "with a `body`"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_OWN_HEADERS = ("host", "content-length", "content-encoding", "transfer-encoding", "connection", "content-type")
HEADER_VALUE_CHARS_MAX = 4096
_CLOCK = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")


def _clock(text: str) -> str:
    if _CLOCK.fullmatch(text) is None or (text > "24:00"):
        raise ValueError("must be a time of day, such as 22:00")
    return text


Clock = Annotated[str, AfterValidator(_clock)]


class QuietHoursSpec(BaseModel):
    """A daily period in which only what is urgent is sent; the rest is sent when it ends."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    from_: Clock = Field(alias="from")
    """`22:00`: when it begins, by the clocks of the time zone."""
    to: Clock
    """`07:00`: when it ends, on the next day where that is not later than `from`."""
    timezone: Annotated[str, AfterValidator(check_zone)] = "UTC"
    """IANA name, such as Europe/Berlin."""
    days: tuple[Day, ...] = Field(_DAYS, min_length=1)
    """Days on which it begins."""

    def quiet_hours(self) -> QuietHours:
        """As the scheduling of deliveries needs it."""
        days = EVERY_DAY if self.days == _DAYS else frozenset(map(_DAYS.index, self.days))
        return QuietHours(_time(self.from_), _time(self.to), self.timezone, days)


class TemplateSpec(BaseModel):
    """An HTTP request of your own making, in Liquid; for destinations that have no format here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["POST", "PUT", "PATCH"] = "POST"
    content_type: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e][\x20-\x7e]{0,199}$")] = "application/json"
    headers: dict[str, Annotated[str, StringConstraints(max_length=HEADER_CHARS_MAX)]] = Field({}, max_length=20)
    """Name → a template of its value. Values without templates, and secrets, belong into the subscription's headers."""
    body: Annotated[str, StringConstraints(max_length=BODY_CHARS_MAX)]
    """`{"text": {{ notice.title | json }}}`: the filter `json` escapes and quotes."""

    @field_validator("headers")
    @classmethod
    def _check_names(cls, given: dict[str, str]) -> dict[str, str]:
        check_header_names(given)
        return given


def _time(clock: str) -> time:
    return time(0) if clock == "24:00" else time.fromisoformat(clock)


def check_header_names(names: Collection[str]) -> None:
    """Raise ValueError for a header that cannot be sent, or that is not the configuration's to choose."""
    for name in names:
        if _HEADER_NAME.fullmatch(name) is None:
            raise ValueError(f"{name[:100]!r} is not a header's name")
        if name.lower() in _OWN_HEADERS or name.lower().startswith(("webhook-", "proxy-")):
            hint = "; set template.content_type" if name.lower() == "content-type" else ""
            raise ValueError(f"{name} is set by Rescind: leave it out{hint}")
        if name.lower().startswith(("webhook-", "proxy-")):
            raise ValueError(f"{name} is set by Rescind, or not sent: leave it out")


def check_header_values(values: Mapping[str, SecretStr]) -> None:
    """Raise ValueError, without the value, for one that cannot be sent."""
    for name, secret in values.items():
        value = secret.get_secret_value()
        if len(value) > HEADER_VALUE_CHARS_MAX:
            raise ValueError(f"the value of {name} has more than {HEADER_VALUE_CHARS_MAX} characters")
        if not value.isprintable() or value != value.strip():
            raise ValueError(f"the value of {name} has a line end, or another character that cannot be sent")


def check_options(format: Format, given: Collection[str]) -> None:
    """Raise ValueError for an option that belongs to other formats, or that the format lacks."""
    for name in given:
        formats = _FORMATS_OF.get(name)
        if formats is not None and format not in formats:
            raise ValueError(f"{name} is for format {' or '.join(formats)}: leave it out, or set format")
    for name, what in _REQUIRED.items():
        if format in _FORMATS_OF[name] and name not in given:
            raise ValueError(f"format {format} needs {name}: {what}")


def foreign_options(format: Format) -> set[str]:
    """The options that belong to other formats only."""
    return {name for name, formats in _FORMATS_OF.items() if format not in formats}


def check_url(format: Format, url: str) -> None:
    """Raise ValueError for a URL that a subscription of the format cannot send to."""
    if format == "email":
        recipients(url)
    elif url.startswith("mailto:"):
        raise ValueError("is a mail address: set format to email")
    elif (fault := fault_in_url(url, EVERYWHERE)) is not None:  # what may be reached is a setting
        raise ValueError(fault)


def recipients(url: str) -> tuple[str, ...]:
    """The addresses of a mailto: URL. Raises ValueError."""
    scheme, _, rest = url.partition(":")
    if scheme != "mailto" or "?" in rest:
        raise ValueError("must be mailto: and addresses, such as mailto:ops@example.com,lead@example.com")
    addresses = tuple(unquote(part).strip() for part in rest.split(","))
    if len(addresses) > RECIPIENTS_MAX:
        raise ValueError(f"must name at most {RECIPIENTS_MAX} addresses")
    for address in addresses:
        check_address(address)
    return addresses


def check_digest(given: Span | None) -> Span | None:
    """`given`, if it is the interval of a digest; raises ValueError."""
    length = None if given is None else parse_duration(given)
    if given is not None and (length is None or not DIGEST_MIN <= length <= DIGEST_MAX):
        raise ValueError("must be a duration from 1m to 7d, such as 1h")
    return given


def check_quiet_hours(given: QuietHoursSpec | None) -> QuietHoursSpec | None:
    """`given`, if it leaves any time; raises ValueError."""
    if given is not None and _time(given.from_) == _time(given.to) and set(given.days) == set(_DAYS):
        raise ValueError("is always quiet: set `to` to another time than `from`, or name some days")
    return given


def shown_url(format: Any, url: str) -> str:
    """A URL as people see it: where it is a capability, without what stands behind the host."""
    parts = urlsplit(url)
    if format not in _SECRET_URLS or not parts.netloc:
        return url
    return f"{parts.scheme}://{parts.netloc}/{REDACTED}"


def secrets_in_url(format: Any, url: str | None) -> Iterator[str]:
    """The parts of a URL that must not be seen, where it is a capability."""
    if url is None or format not in _SECRET_URLS:
        return
    parts = urlsplit(url)
    whole = url.partition(parts.netloc)[2].lstrip("/")
    if whole:
        yield whole
    yield from (part for part in parts.path.split("/") if len(part) >= SECRET_PART_MIN)
    yield from (value for _, value in parse_qsl(parts.query) if len(value) >= SECRET_PART_MIN)

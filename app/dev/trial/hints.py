"""What would make a request verify: other options, another time, or the body without what an editor added.

Found by trying, as the person who tries has the endpoint's secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import combinations, islice, product
from typing import Any, NamedTuple, get_args

from msgspec.structs import replace

from app.config.resolve import Endpoint
from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import OPTIONS, signs_url
from app.kit.signing.proof import header_of, read_timestamp
from app.web.verification import verify_by

HINTS_MAX = 2
TRIALS_MAX = 2000
CHANGES_MAX = 4
_AT = "%Y-%m-%dT%H:%M:%SZ"
_ANY_AGE_S = 10**12
_DIGESTS = ("sha1", "sha256", "sha512")
_PROOF = re.compile(r"sig|hmac|digest|hash|token|auth", re.IGNORECASE)
_PREFIX = re.compile(r"[A-Za-z0-9]{1,10}=")
_UNIX_TIME = re.compile(r"(?<!\d)\d{10}(?!\d)")
_SIGNED = ("{body}", "{url}{body}", "{url}{form}", "{timestamp}{body}", "{body}{timestamp}", "{timestamp}:{body}")
_LINE_ENDS = (b"\n", b"\r\n")


class _Variation(NamedTuple):
    """One way in which the request might verify."""

    said: str
    options: VerifyOptions
    inbound: InboundRequest
    now: datetime


def hints(endpoint: Endpoint, inbound: InboundRequest, now: datetime, cause: str) -> list[str]:
    """Sentences that say what would make the request verify; what may be at fault where nothing does that is tried."""
    options = endpoint.verify
    said = [one.said for one in _variations(options, inbound, now, cause) if _verifies(endpoint, one)]
    if options.scheme == "hmac":
        # Of several that do, the first has the fewest changes. Its age is told apart, as it may be a recorded one.
        of_any_age = options.model_copy(update={"tolerance_s": _ANY_AGE_S} if options.timestamp_header else {})
        trials = islice(_spellings(of_any_age, inbound, now), TRIALS_MAX)
        spelled = (_with_its_time(endpoint, one) for one in trials if _verifies(endpoint, one))
        said += islice(spelled, 1)
        if not said and cause == "bad_signature":
            url = f" or another URL than {inbound.url}" if signs_url(options) else ""
            said = [f"no other option verifies it: the source has another secret, or signed another body{url}"]
    return said[:HINTS_MAX]


def _with_its_time(endpoint: Endpoint, one: _Variation) -> str:
    """What is said of a variation that verifies at any age, with the time to try it as of if it is too old now."""
    exact = one.options.model_copy(update={"tolerance_s": endpoint.verify.tolerance_s})
    if _verifies(endpoint, one._replace(options=exact)):
        return one.said
    return one.said + next((f" and --at {moment:{_AT}}" for moment in _moments(exact, one.inbound)), "")


def _verifies(endpoint: Endpoint, one: _Variation) -> bool:
    try:
        verify_by(one.options, endpoint, one.inbound, one.now)
    except Exception:  # noqa: BLE001 - no reason matters here
        return False
    return True


def _variations(options: VerifyOptions, inbound: InboundRequest, now: datetime, cause: str) -> Iterator[_Variation]:
    if cause == "too_old":
        yield from _times(options, inbound)
    for end in _LINE_ENDS:
        if inbound.body.endswith(end):
            body = inbound.body.removesuffix(end)
            said = "it verifies without the line end at the end of the body: save the body as it was received"
            yield _Variation(said, options, replace(inbound, body=body), now)
    yield from _schemes(options, inbound, now)


def _times(options: VerifyOptions, inbound: InboundRequest) -> Iterator[_Variation]:
    for moment in _moments(options, inbound):
        said = f"it verifies as of the time that it signs: give --at {moment:{_AT}}"
        yield _Variation(said, options, inbound, moment)


def _moments(options: VerifyOptions, inbound: InboundRequest) -> Iterator[datetime]:
    """The times that a request may sign: the one in its header for it, else what looks like one in any header."""
    if options.timestamp_header:
        with suppress(VerificationError, ValueError, OverflowError, OSError):
            text = header_of(inbound, options.timestamp_header)
            seconds = read_timestamp(text, options.timestamp_header, options.timestamp_format)
            yield datetime.fromtimestamp(seconds, UTC)
        return
    for value in inbound.headers.values():
        yield from (datetime.fromtimestamp(int(text), UTC) for text in _UNIX_TIME.findall(value))


def _schemes(options: VerifyOptions, inbound: InboundRequest, now: datetime) -> Iterator[_Variation]:
    for scheme in OPTIONS:
        if scheme not in (options.scheme, "hmac"):
            given: dict[str, Any] = {"scheme": scheme, "secrets": options.secrets, "username": options.username}
            other = VerifyOptions.model_construct(**given)
            yield _Variation(f"it verifies with verify.scheme: {scheme}", other, inbound, now)


def _spellings(options: VerifyOptions, inbound: InboundRequest, now: datetime) -> Iterator[_Variation]:
    """The same secret, with another header, prefix, encoding and so on."""
    choices: dict[str, list[Any]] = {"header": [*filter(_PROOF.search, inbound.headers)]}
    given = [match[0] for value in inbound.headers.values() if (match := _PREFIX.match(value))]
    choices["prefix"] = ["", *given]
    if options.items is None and options.signature is None:
        choices["signed"] = [*_SIGNED]
    for name in ("encoding", "algorithm", "key", "timestamp_format"):
        listed = get_args(VerifyOptions.model_fields[name].annotation)
        choices[name] = [value for value in listed if name != "algorithm" or value in _DIGESTS]
    others = {
        name: [value for value in dict.fromkeys(values) if value != getattr(options, name)]
        for name, values in choices.items()
    }
    # The fewest changes first.
    for count in range(1, CHANGES_MAX + 1):
        for names in combinations(others, count):
            for values in product(*(others[name] for name in names)):
                changed = dict(zip(names, values, strict=True))
                written = ", ".join(f"{name}: {value or repr(value)}" for name, value in changed.items())
                said = f"it verifies with verify.{written}"
                yield _Variation(said, options.model_copy(update=changed), inbound, now)

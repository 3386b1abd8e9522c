"""Sends a signed sample webhook to an endpoint, marked as a test: nothing of it is recorded.

The mark is encrypted and authenticated by the key that seals secrets at rest, names one endpoint, and is good for a
minute. So no stranger can forge one, and every node that shares the key knows it.
"""

from __future__ import annotations

from datetime import datetime

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from app.config.secrets import Vault, WrongSecretKeyError
from app.contract import HttpRequest
from app.runtime.http_client import explain

TEST_HEADER = "Rescind-Test"
MARK_VALID_S = 60.0
TIMEOUT_S = 20.0
ANSWER_MAX = 262_144
_PURPOSE = "rescind/endpoint-test/1"


class _Mark(Struct, array_like=True):
    purpose: str
    endpoint: str
    made_at: float


class SampleEvent(Struct):
    """An event that the sample would have given."""

    type: str
    order: str
    occurred_at: datetime | None
    phase: str | None
    provider_status: str | None


class SampleReport(Struct):
    """What the server says of a marked request."""

    enabled: bool
    verified: bool
    detail: str = ""
    """Why it was not verified."""
    status: str = ""
    """What would have become of it: accepted, ignored or quarantined; "" if it was not verified."""
    reason: str = ""
    events: list[SampleEvent] = []


class NotReached(Exception):
    """The request did not come to a server of this Rescind; the message says what happened instead."""


def make_mark(vault: Vault, endpoint: str, now: datetime) -> str:
    """The value of `TEST_HEADER` for a request to this endpoint."""
    return vault.seal(msgspec.json.encode(_Mark(_PURPOSE, endpoint, now.timestamp()))).decode()


def is_mark(vault: Vault, given: str, endpoint: str, now: datetime) -> bool:
    """Whether this is a mark for the endpoint, made by a server with the same key within the last minute."""
    try:
        mark = msgspec.json.decode(vault.open(given.encode("ascii", "replace")), type=_Mark)
    except (WrongSecretKeyError, msgspec.DecodeError):
        return False
    age_s = now.timestamp() - mark.made_at
    return mark.purpose == _PURPOSE and mark.endpoint == endpoint and abs(age_s) <= MARK_VALID_S


async def send(url: str, webhook: HttpRequest, mark: str) -> SampleReport:
    """Send a webhook to an endpoint's URL as a test. Raises `NotReached`.

    A request without proof goes first. Where something on the way removes the mark, that one is refused, and the
    sample, which would be recorded, is not sent.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await _exchange(session, url, HttpRequest("POST", "", {"Content-Type": "application/json"}, b"{}"), mark)
        return await _exchange(session, url + webhook.url, webhook, mark)


async def _exchange(session: aiohttp.ClientSession, url: str, webhook: HttpRequest, mark: str) -> SampleReport:
    where = url.partition("?")[0]
    # No other mark beside it: the server would see that one first, and record the sample.
    headers = {name: value for name, value in webhook.headers.items() if name.lower() != TEST_HEADER.lower()}
    headers[TEST_HEADER] = mark
    try:
        async with session.post(
            URL(url, encoded=True), data=webhook.body, headers=headers, allow_redirects=False
        ) as response:
            status, marked = response.status, TEST_HEADER in response.headers
            raw = b""
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > ANSWER_MAX:
                    break
    except TimeoutError as error:
        raise NotReached(f"{where} did not respond within {TIMEOUT_S:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotReached(f"{where} cannot be reached: {explain(error)}") from error
    if not marked:
        raise NotReached(
            f"{where} answered {status}, and not as this server does: something else serves that URL, or removes the "
            f"header {TEST_HEADER} on the way"
        )
    try:
        return msgspec.json.decode(raw, type=SampleReport)
    except msgspec.DecodeError as error:
        raise NotReached(f"{where} answered {status} with something that is no report of a test") from error

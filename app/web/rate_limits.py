"""Limits against abuse: requests per API key, webhooks per endpoint, failed authentications per client address.

Each is a leaky bucket of two seconds' worth (of a minute's, for failures), in this process's memory. A request costs a
look-up and an addition; what is over the limit gets 429 with Retry-After.

A failure never keeps valid credentials out: a stranger behind the same proxy or network must not lock out others, and
nobody guesses 238 random bits. It only ends what a stranger learns, and what is spent on telling them.
"""

from __future__ import annotations

from math import ceil
from time import monotonic

from aiohttp import web

from app.config.settings import Settings
from app.runtime import metrics
from app.web.client_address import client_addresses, is_allowed, network_of
from app.web.problems import Kind, Problem

BURST_S = 2.0
FAILURES_BURST_S = 60.0
HANDSHAKES_PER_S, HANDSHAKES_BURST_S = 10.0, 10.0
"""A sender makes one when its webhook is set up, and then one in months."""
NAMES_MAX = 10_000
"""Names that are remembered at most; only strangers' addresses can be so many."""


class Buckets:
    """One leaky bucket for each name, all of the same rate."""

    def __init__(self, rate_per_s: float, burst_s: float) -> None:
        """Args: rate_per_s: 0 is no limit; burst_s: after a pause so many seconds' worth may come at once."""
        self._interval = 1.0 / rate_per_s if rate_per_s else 0.0
        self._burst_s = max(burst_s, self._interval)
        self._empty_at: dict[str, float] = {}

    def wait_s(self, name: str, now: float) -> float:
        """Count one request; 0.0 if it is within the limit. Else it is not counted, and may come after so long."""
        interval = self._interval
        if not interval:
            return 0.0
        empty_at = self._empty_at.get(name, 0.0)
        empty_at = (max(now, empty_at)) + interval
        excess = empty_at - now - self._burst_s
        if excess > 1e-9:  # noqa: PLR2004 - rounding
            return excess
        if len(self._empty_at) >= NAMES_MAX and name not in self._empty_at:
            self._forget(now)
        self._empty_at[name] = empty_at
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget the names whose buckets are empty; if there are too few, also those that were named first."""
        kept = [(name, at) for name, at in self._empty_at.items() if at > now]
        self._empty_at = dict(kept[-(NAMES_MAX // 2) :])


class RateLimits:
    """The limits of one server."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Buckets(settings.key_rate_per_s, BURST_S)
        self._endpoints = Buckets(settings.endpoint_rate_per_s, BURST_S)
        self._failures = Buckets(settings.auth_failures_per_min / 60.0, FAILURES_BURST_S)
        self._handshakes = Buckets(HANDSHAKES_PER_S, HANDSHAKES_BURST_S)
        self._trusted = settings.trusted_proxies
        for limit in ("key", "endpoint", "authentication", "handshake"):
            # At zero from the start: Prometheus sees an increase only of what was there before.
            metrics.LIMITED.labels(limit)

    def admit_request(self, holder: str) -> None:
        """Count a request with an API key. Raises `Problem` over the limit."""
        wait_s = self._keys.wait_s(holder, monotonic())
        if wait_s:
            raise _too_many("key", "This API key sends more requests than RESCIND_KEY_RATE_PER_S allows", wait_s)

    def admit_webhook(self, endpoint: str) -> None:
        """Count an authentic webhook of an endpoint. Raises `Problem` over the limit; the provider sends it again."""
        wait_s = self._endpoints.wait_s(endpoint, monotonic())
        if wait_s:
            raise _too_many("endpoint", "More webhooks arrive than RESCIND_ENDPOINT_RATE_PER_S allows", wait_s)

    def admit_handshake(self, request: web.Request) -> None:
        """Count a handshake of a client that has proved nothing. Raises `Problem` over the limit of its address.

        By the address and not by the endpoint: a stranger must not use up what the sender needs.
        """
        addresses, now = client_addresses(request, self._trusted), monotonic()
        wait_s = max(self._handshakes.wait_s(name, now) for name in {network_of(address) for address in addresses})
        if wait_s:
            raise _too_many("handshake", "Too many handshakes from this address", wait_s)

    def note_failure(self, request: web.Request) -> None:
        """Count a request without valid credentials. Raises `Problem` over the limit of its client's address.

        Proxies are exempt, and with them who calls from their machine.
        """
        addresses = client_addresses(request, self._trusted)
        if is_allowed(addresses, self._trusted):
            return
        # By each address: one of two may be invented, another one with each request.
        now = monotonic()
        wait_s = max(self._failures.wait_s(name, now) for name in {network_of(address) for address in addresses})
        if wait_s:
            raise _too_many("authentication", "Too many requests without a valid API key from this address", wait_s)


def _too_many(limit: str, detail: str, wait_s: float) -> Problem:
    metrics.LIMITED.labels(limit).inc()
    seconds = ceil(wait_s)
    headers = {"Retry-After": str(seconds)}
    return Problem(Kind.TOO_MANY, f"{detail}: try again in {seconds} s.", headers=headers)


RATE_LIMITS: web.AppKey[RateLimits] = web.AppKey("rate_limits", RateLimits)

"""The rate limits of the simulated NotPanel: three layers, of which each call counts for all that it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from math import ceil
from typing import Any

from app.kit.simulator import Window

LAYERS = {"ip_requests": "ip", "requests": "key", "tier_requests": "tier"}
"""A limit's name in `set_limits` → the layer's in headers, in the order in which they are looked at."""


class LimitLayers:
    """A window for each layer, all over as many seconds."""

    def __init__(self, limits: Mapping[str, int], per_s: float) -> None:
        self._windows = {name: Window(limits[name], per_s) for name in LAYERS}

    def denied(self, key: str, now: float, *, is_known: bool) -> dict[str, str] | None:
        """Count a call; the headers of the response if a layer denies it.

        A call with an unknown key counts for the IP address only, one that a layer denies not for the next.
        """
        for name in LAYERS if is_known else ("ip_requests",):
            if self._windows[name].wait_s(_counted(name, key), now) is not None:
                return {**self._headers(name, key, now), "x-ratelimit-deniedby": LAYERS[name]}
        return None

    def headers(self, key: str, now: float) -> dict[str, str]:
        """The headers of the layer that has the fewest calls left."""
        tightest = min(LAYERS, key=lambda name: self._windows[name].left(_counted(name, key)))
        return self._headers(tightest, key, now)

    def _headers(self, name: str, key: str, now: float) -> dict[str, str]:
        window, counted = self._windows[name], _counted(name, key)
        calls = window.calls.get(counted)
        return {
            "x-ratelimit-limit": str(window.requests),
            "x-ratelimit-remaining": str(max(0, window.left(counted))),
            "x-ratelimit-reset": str(ceil((calls[0] if calls else now) + window.per_s)),
            "x-ratelimit-tier-remaining": str(max(0, self._windows["tier_requests"].left(""))),
        }

    def change(self, limit: Mapping[str, Any]) -> dict[str, Any]:
        """Set the limits that are given, and `per_s`; returns all. Raises ValueError, and then sets none."""
        per_s = limit.get("per_s", self._windows["requests"].per_s)
        windows = {name: copy(window) for name, window in self._windows.items()}
        for name, window in windows.items():
            window.act({"requests": limit.get(name, window.requests), "per_s": per_s}, 0.0)
        self._windows = windows
        return {**{name: window.requests for name, window in windows.items()}, "per_s": float(per_s)}


def _counted(name: str, key: str) -> str:
    """Under which name a limit counts a call: all calls come from one IP address, and all keys are one account's."""
    return key if name == "requests" else ""

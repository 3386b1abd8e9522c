"""What a panel of a dashboard for Grafana is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple


class Panel(NamedTuple):
    """One panel."""

    title: str
    description: str
    unit: str
    """As Grafana names it."""
    queries: Sequence[tuple[str, str]]
    """(expression, legend)."""
    runbooks: Sequence[str] = ()
    """Alerts that are about it."""
    console: str = ""
    """The page of the console where one sees more."""
    type: Literal["timeseries", "stat"] = "timeseries"
    worse_than: float | None = None
    """From this value on it is red."""
    width: int = 8
    height: int = 8


class Dashboard(NamedTuple):
    """One dashboard."""

    uid: str
    title: str
    description: str
    variables: Sequence[str]
    rows: Mapping[str, Sequence[Panel]]


J = 'job="$job"'
A = f'{J},account=~"$account"'
E = f'{J},endpoint=~"$endpoint"'
S = f'{J},subscription=~"$subscription"'
R = "[$__rate_interval]"


def count(title: str, expression: str, description: str, *runbooks: str, console: str = "") -> Panel:
    """A number that should be zero."""
    query = (f"{expression} or vector(0)", title)
    return Panel(title, description, "short", [query], runbooks, console, "stat", 1, 3, 4)


def quantiles(name: str) -> list[tuple[str, str]]:
    """The median and the 99th percentile of a histogram."""
    buckets = f"sum by (le) (rate({name}_bucket{{{J}}}{R}))"
    return [(f"histogram_quantile({share}, {buckets})", legend) for share, legend in ((0.5, "median"), (0.99, "99 %"))]

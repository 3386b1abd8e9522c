"""What Prometheus is shown: what is late, what waits for a person, what is paused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from prometheus_client import generate_latest
from servers import ACCOUNT, Rescind

from app.web.scrape import measure


async def metrics(rescind: Rescind) -> dict[str, float]:
    return values((await rescind.ask("GET", "/metrics")).raw)


async def test_what_is_late_waits_or_is_paused_is_measured(rescind: Rescind) -> None:
    lane = f'{{account="{ACCOUNT}"}}'
    await rescind.tell("order.processed", "o-1")
    shown = await metrics(rescind)
    assert shown[f"rescind_lane_overdue_seconds{lane}"] == 0
    assert shown["rescind_receipts_quarantined"] == 0
    assert f'rescind_cancellations_total{{account="{ACCOUNT}",state="expired"}}' in shown, "from the start"
    assert shown["rescind_commit_seconds_count"] > 0
    assert 'rescind_paused{scope="all"}' not in shown

    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await rescind.cancel("o-1")
    assert (await rescind.hook(b"no json")).status == 202
    shown = await metrics(rescind)
    assert (shown['rescind_paused{scope="all"}'], shown[f"rescind_lane_open{lane}"]) == (1, 0)
    assert shown["rescind_receipts_quarantined"] == 1
    assert shown['rescind_cancellations_live{state="scheduled"}'] == 1
    await measure(rescind.node, datetime.now(UTC) + timedelta(hours=1))
    late = values(generate_latest())
    assert 3500 < late[f"rescind_lane_overdue_seconds{lane}"] < 3700

    await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    assert 'rescind_paused{scope="all"}' not in await metrics(rescind)


def values(text: bytes) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(rescind_\S+) (\S+)$", text.decode(), re.MULTILINE)}

"""What Prometheus is shown: what is late, what waits for a person, what is paused."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from providers import until
from servers import ACCOUNT, Rescind

from app import __version__
from app.web import scrape
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
    assert not any(name.startswith(("rescind_paused", "rescind_lane_closed")) for name in shown)
    assert shown["rescind_workers_ended"] == 0
    assert shown["rescind_disk_size_bytes"] > shown["rescind_disk_free_bytes"] > 0
    assert shown["rescind_database_size_bytes"] > 4096
    assert f'rescind_build_info{{version="{__version__}"}}' in shown
    assert shown['rescind_node_owned{kind="account"}'] > 0
    for result in ("committed", "not_committed"):  # in this process, other tests may have lost some
        assert f'rescind_commits_unknown_total{{result="{result}"}}' in shown, "from the start"

    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    deadline = datetime.now(UTC) + timedelta(minutes=10)
    await rescind.cancel("o-1", deadline=deadline.isoformat())
    assert (await rescind.hook(b"no json")).status == 202
    shown = await metrics(rescind)
    assert (shown['rescind_paused{cause="paused",scope="all"}'], shown[f"rescind_lane_open{lane}"]) == (1, 0)
    assert shown[f'rescind_lane_closed{{account="{ACCOUNT}",cause="paused"}}'] == 1
    assert f"rescind_lane_closing_cancels{lane}" not in shown, "it has not been due for a minute"
    assert shown["rescind_receipts_quarantined"] == 1
    assert shown['rescind_cancellations_live{state="scheduled"}'] == 1
    await measure(rescind.node, datetime.now(UTC) + timedelta(hours=1))
    late = values(generate_latest())
    assert late[f"rescind_lane_closing_cancels{lane}"] == 1
    assert 3500 < late[f"rescind_lane_overdue_seconds{lane}"] < 3700

    await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    assert not any(name.startswith(("rescind_paused", "rescind_lane_closed")) for name in await metrics(rescind))


async def test_a_worker_that_ended_and_a_loop_that_stood_still_are_measured(rescind: Rescind) -> None:
    before = await metrics(rescind)
    slow = 'rescind_event_loop_lag_seconds_bucket{le="0.25"}', "rescind_event_loop_lag_seconds_count"
    time.sleep(0.75)  # noqa: ASYNC251 - that is what is measured

    async def seen() -> bool:
        shown = await metrics(rescind)
        fast, all_ = (shown[name] - before[name] for name in slow)
        return all_ - fast >= 4

    await until(seen, "looks that fell into the standstill")
    rescind.node._tasks["keys"].cancel()

    async def ended() -> bool:
        return (await metrics(rescind))["rescind_workers_ended"] == 1

    await until(ended, "the worker ended")


@pytest.mark.sqlite_only("a link to its file")
async def test_a_database_that_a_link_names_is_measured_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "rescind.db").symlink_to(tmp_path / "disk" / "rescind.db")
    rescind = await Rescind.start(tmp_path)
    files = rescind.node.database_files
    await rescind.stop()
    assert [path.parent for path in files] == [tmp_path / "disk"] * 2
    assert all(path.is_file() for path in files)


async def test_the_page_is_made_beside_the_event_loop(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand accounts it takes a third of a second."""
    threads = []

    def make() -> bytes:
        threads.append(threading.current_thread())
        return generate_latest()

    monkeypatch.setattr(scrape, "generate_latest", make)
    await metrics(rescind)
    assert len(threads) == 1
    assert threading.main_thread() not in threads


async def test_a_key_that_expires_soon_is_shown(rescind: Rescind) -> None:
    expiries = [datetime.now(UTC) + timedelta(days=days) for days in (5, 60)]
    keys = [{"name": "k", "scope": "read", "expires_at": at.isoformat()} for at in expiries]
    ids = [(await rescind.ask("POST", "/v1/keys", key)).json["id"] for key in keys]
    shown = await metrics(rescind)
    measured = [shown.get(f'rescind_api_key_expiry_timestamp_seconds{{key="{id}"}}') for id in ids]
    assert measured == [pytest.approx(expiries[0].timestamp()), None]


def values(text: bytes) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(rescind_\S+) (\S+)$", text.decode(), re.MULTILINE)}

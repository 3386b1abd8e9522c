"""What a load needs, against what is there; and the page that says so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from app.core import capacity
from app.core.capacity import Growth, Load, Machine, compare, most_webhooks_per_s, needs, size
from app.core.findings import FAULT, NOTICE, OK

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "operations" / "capacity.md").read_text(encoding="utf-8")
GB = 10**9
MACHINE = Machine(
    cores=2, memory_bytes=8 * GB, disk_free_bytes=200 * GB, disk_bytes=300 * GB, fsync_ms=2.0, files=65536
)
LOAD = Load(orders_per_day=1000)
STILL = Growth(database_bytes=GB, events=800_000, events_per_day=1000.0, days=7.0)


def states(load: Load = LOAD, machine: Machine = MACHINE, growth: Growth = STILL) -> dict[str, str]:
    return {finding.what: finding.state for finding in compare(load, machine, growth)}


def test_a_machine_that_is_large_enough_is_ok_in_everything() -> None:
    assert set(states().values()) == {OK}
    assert not any(finding.do for finding in compare(LOAD, MACHINE, STILL)), "nothing is to be done"


@pytest.mark.parametrize(
    ("what", "change", "notice", "fault"),
    [
        ("memory", "memory_bytes", GB, GB // 3),
        ("durable write", "fsync_ms", 30.0, 300.0),
        ("disk", "disk_free_bytes", GB + 60 * 1_250_000, GB + 10 * 1_250_000),
        ("disk", "disk_free_bytes", GB + 60 * 1_250_000, GB // 2),
    ],
)
def test_what_is_short_is_said_and_what_to_do(what: str, change: str, notice: float, fault: float) -> None:
    for value, state in ((notice, NOTICE), (fault, FAULT)):
        machine = replace(MACHINE, **{change: value})
        assert states(machine=machine) == {**states(), what: state}
        [finding] = [finding for finding in compare(LOAD, machine, STILL) if finding.what == what]
        assert finding.do


def test_a_disk_of_another_machine_is_a_fault_however_fast_it_is() -> None:
    assert states(machine=replace(MACHINE, is_network_disk=True))["durable write"] == FAULT


def test_few_file_descriptors_are_said() -> None:
    assert states(machine=replace(MACHINE, files=1024)) == {**states(), "file descriptors": NOTICE}


def test_one_process_is_the_limit_however_many_cores_there_are() -> None:
    many = replace(MACHINE, cores=64)
    at_peak = most_webhooks_per_s() * capacity.DAY_S / LOAD.events_per_order / LOAD.peak
    assert states(replace(LOAD, orders_per_day=at_peak * 0.4, cancels_share=0), many)["processor"] == OK
    assert states(replace(LOAD, orders_per_day=at_peak * 0.9, cancels_share=0), many)["processor"] == NOTICE
    assert states(replace(LOAD, orders_per_day=at_peak * 1.1, cancels_share=0), many)["processor"] == FAULT


def test_growth_is_that_of_the_log_where_it_tells_and_of_the_load_where_not() -> None:
    # 9 GB in 1,000,000 events: more for each than an event takes by the constants.
    large = Growth(9 * GB, 10**6, 1000.0, 7.0)
    [disk] = [finding for finding in compare(LOAD, MACHINE, large) if finding.what == "disk"]
    assert "growth 9 MB a day as in the last 7 days" in disk.detail
    [disk] = [finding for finding in compare(LOAD, MACHINE, replace(large, days=0.0)) if finding.what == "disk"]
    assert f"growth {size(needs(LOAD).log_bytes_per_day)} a day by the load given" in disk.detail


def test_content_goes_after_its_time_and_events_stay() -> None:
    plain, long = needs(LOAD), needs(replace(LOAD, retention_days=180))
    assert long.log_bytes_per_day == plain.log_bytes_per_day
    assert long.kept_bytes > plain.kept_bytes
    assert plain.database_bytes(20) - plain.database_bytes(10) == pytest.approx(10 * plain.log_bytes_per_day)
    assert plain.disk_bytes(10, backups=3) == pytest.approx(5 * plain.database_bytes(10))


def test_the_page_has_the_constants() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|[^|]*\| ([0-9.,]+)", PAGE.partition("## PostgreSQL\n")[0], re.MULTILINE))
    shown = {name: float(value.replace(",", "")) for name, value in rows.items()}
    for name, value in shown.items():
        assert value == pytest.approx(float(getattr(capacity, name)) / SCALE.get(name, 1), rel=1e-9), name
    assert set(shown) == {
        name for name in vars(capacity) if name.endswith(("_US", "_BYTES", "_RATIO", "_SHARE", "_PER_GB"))
    }


SCALE = {"WAL_BYTES": 2**20, "START_BYTES": 10**6, "CACHE_BYTES": 10**6, "CONNECTION_BYTES": 1000, "STREAM_BYTES": 1000}


def test_the_page_has_the_sizes() -> None:
    assert size_rows() in PAGE, f"put this table into the page:\n{size_rows()}"
    assert f"about {most_webhooks_per_s():,.0f} webhooks a second" in PAGE


def test_the_page_names_metrics_that_there_are() -> None:
    metrics = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    named = re.findall(r"`(rescind_\w+)`", PAGE)
    assert len(named) > 5
    assert [name for name in named if f"`{name}`" not in metrics] == []


def size_rows() -> str:
    """The table of three sizes."""
    loads = [Load(orders_per_day=orders) for orders in (1_000, 100_000, 2_000_000)]
    rows = [
        ("webhooks a day", [f"{load.orders_per_day * load.events_per_order:,.0f}" for load in loads]),
        ("webhooks a second at the peak", [f"{load.webhooks_per_s:,.1f}" for load in loads]),
        ("cores busy at the peak", [f"{needs(load).cores:.2f}" for load in loads]),
        ("memory, at most", [size(needs(load).memory_bytes) for load in loads]),
        ("log and index, each month", [size(needs(load).log_bytes_per_day * 30) for load in loads]),
        ("content of receipts and messages, at most", [size(needs(load).kept_bytes) for load in loads]),
        ("database after a year", [size(needs(load).database_bytes(365)) for load in loads]),
        ("disk for a year, backups elsewhere", [size(needs(load).disk_bytes(365)) for load in loads]),
        ("disk for a year, 14 backups on it", [size(needs(load).disk_bytes(365, 14)) for load in loads]),
    ]
    return "\n".join(f"| {what} | {' | '.join(cells)} |" for what, cells in rows)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runtime import uptime as module
from app.runtime.uptime import uptime


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    module._boot.cache_clear()
    yield
    module._boot.cache_clear()


def test_moments_of_one_start_of_the_machine_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("5b1c1f0e-5d0b-4f7c-9d0d-0c7a0f3d2b11\n")
    monkeypatch.setattr(module, "_BOOT_ID", boot_id)
    first, second = uptime(), uptime()
    assert first is not None
    assert second is not None
    assert first <= second
    assert first.boot == second.boot
    assert -(1 << 63) <= first.boot < 1 << 63
    boot_id.write_text("another")
    module._boot.cache_clear()
    third = uptime()
    assert third is not None
    assert third.boot != first.boot


def test_a_system_that_does_not_tell_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "none")
    assert uptime() is None

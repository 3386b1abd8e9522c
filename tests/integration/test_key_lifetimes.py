"""API keys that expire, are rotated, and say when they were last used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import Provider, until
from servers import ACCOUNT, Rescind, account_of, execute_sql, stored_in

from app.config import keys
from app.config.tokens import make_token


def clock(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """From now on it is so much later for keys."""
    at = (datetime.now(UTC) + by).timestamp()
    monkeypatch.setattr(keys.time, "time", lambda: at)


async def new_key(rescind: Rescind, **body: Any) -> dict[str, Any]:
    reply = await rescind.ask("POST", "/v1/keys", {"name": "ci", **body})
    assert reply.status == 201, reply
    return dict(reply.json)


async def status(rescind: Rescind, key: str) -> int:
    return (await rescind.ask("GET", "/v1/orders", key=key)).status


async def listed(rescind: Rescind) -> dict[str, dict[str, Any]]:
    return {key["id"]: key for key in (await rescind.get("/v1/keys"))["data"]}


async def test_a_key_expires(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    made = await new_key(rescind, expires_at=until.isoformat())
    assert await status(rescind, made["key"]) == 200
    clock(monkeypatch, timedelta(minutes=59))
    assert await status(rescind, made["key"]) == 200
    clock(monkeypatch, timedelta(minutes=61))
    refused = await rescind.ask("GET", "/v1/orders", key=made["key"])
    assert f"{made['id']}) expired at {until:%Y-%m-%dT%H:%M:%SZ}" in refused.problem(401, "unauthorized")["detail"]
    for past in ("2020-01-01T00:00:00Z", (datetime.now(UTC) - timedelta(seconds=1)).isoformat()):
        reply = await rescind.ask("POST", "/v1/keys", {"name": "ci", "expires_at": past})
        assert "in the past" in reply.problem(422, "invalid-request")["detail"]


async def test_the_refusal_says_what_is_wrong_with_a_key(rescind: Rescind) -> None:
    made = await new_key(rescind)
    wrong = {
        made["key"][:-1] + ("x" if made["key"][-1] != "x" else "y"): "mistyped or incomplete: its checksum",
        made["key"][:-1]: "mistyped or incomplete: it has 48 characters",
        make_token(): "This server has no such API key",
    }
    await rescind.ask("DELETE", f"/v1/keys/{made['id']}")
    wrong[made["key"]] = "was revoked"
    for key, part in wrong.items():
        detail = (await rescind.ask("GET", "/v1/orders", key=key)).problem(401, "unauthorized")["detail"]
        assert part in detail
        assert key not in detail


async def test_rotation_overlaps(rescind: Rescind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = await new_key(rescind, scope="write", accounts=[ACCOUNT])
    reply = await rescind.ask("POST", f"/v1/keys/{old['id']}/rotate", {"overlap_h": 2})
    new = reply.json
    assert (reply.status, new["scope"], new["accounts"], new["rotated_from"]) == (201, "write", [ACCOUNT], old["id"])
    assert new["id"] != old["id"]
    assert (await status(rescind, old["key"]), await status(rescind, new["key"])) == (200, 200)
    clock(monkeypatch, timedelta(minutes=121))
    assert (await status(rescind, old["key"]), await status(rescind, new["key"])) == (401, 200)
    assert new["key"].encode() not in stored_in(tmp_path)
    (await rescind.ask("POST", f"/v1/keys/{old['id']}/rotate", {})).problem(404, "not-found")
    third = (await rescind.ask("POST", f"/v1/keys/{new['id']}/rotate", {"overlap_h": 0})).json
    assert third["rotated_from"] == old["id"]
    clock(monkeypatch, timedelta(minutes=122))
    assert (await status(rescind, new["key"]), await status(rescind, third["key"])) == (401, 200)


async def test_rotation_never_lengthens_the_old_key(rescind: Rescind) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    old = await new_key(rescind, expires_at=soon.isoformat())
    new = (await rescind.ask("POST", f"/v1/keys/{old['id']}/rotate", {"overlap_h": 24})).json
    assert (await listed(rescind))[old["id"]]["expires_at"] == old["expires_at"]
    of_old, of_new = [
        datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"]) for key in (old, new)
    ]
    assert abs(of_new - of_old) < timedelta(minutes=1), "as long as the old one had"


async def test_a_repeated_request_is_recognized_after_a_rotation(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    old = await new_key(rescind, scope="write")
    new = (await rescind.ask("POST", f"/v1/keys/{old['id']}/rotate", {})).json
    path, body = f"/v1/accounts/{ACCOUNT}/orders/o-1/cancellations", {"reason": "duplicate_order", "note": "x"}
    headers = {"Idempotency-Key": "once"}
    first = await rescind.ask("POST", path, body, key=old["key"], headers=headers)
    again = await rescind.ask("POST", path, body, key=new["key"], headers=headers)
    assert (first.status, again.headers.get("Idempotent-Replayed")) == (202, "true")
    assert first.json["id"] == again.json["id"]


async def test_rotation_is_not_repeated_and_not_of_the_bootstrap_key(rescind: Rescind) -> None:
    old = await new_key(rescind)
    headers = {"Idempotency-Key": "once"}
    both = [await rescind.ask("POST", f"/v1/keys/{old['id']}/rotate", {}, headers=headers) for _ in range(2)]
    assert both[0].raw == both[1].raw
    assert len(await listed(rescind)) == 2
    detail = (await rescind.ask("POST", "/v1/keys/bootstrap/rotate", {})).problem(404, "not-found")["detail"]
    assert "RESCIND_BOOTSTRAP_KEY" in detail
    for body in ({"overlap_h": -1}, {"overlap_h": 24 * 91}, {"overlap_h": "2"}, {"expires_at": "2020-01-01T00:00:00Z"}):
        (await rescind.ask("POST", f"/v1/keys/{old['id']}/rotate", body)).problem(422, "invalid-request")


async def test_the_last_use_is_shown_and_survives_a_restart(rescind: Rescind, start: Start) -> None:
    made, unused = await new_key(rescind), await new_key(rescind)
    before = datetime.now(UTC)
    assert await status(rescind, made["key"]) == 200
    shown = await listed(rescind)
    assert before <= datetime.fromisoformat(shown[made["id"]]["last_used_at"]) <= datetime.now(UTC)
    assert "last_used_at" not in shown[unused["id"]]
    await rescind.node.keys.note_use()
    later = datetime.now(UTC) - timedelta(hours=1)
    await rescind.node.store.note_key_use({made["id"]: later})
    await rescind.stop()
    again = await listed(await start())
    assert again[made["id"]]["last_used_at"] == shown[made["id"]]["last_used_at"], "an earlier time changes nothing"


async def test_keys_of_the_first_release_stay_valid(rescind: Rescind, start: Start, tmp_path: Path) -> None:
    former = "rk_0123456789-abcdefghijklmnopqrstuvwxyz_ABCDE"
    await rescind.stop()
    row = ("key_former", "ci", "read", sha256(former.encode()).digest(), 0, "me")
    columns = "id, name, scope, hash, created_at, created_by"
    execute_sql(tmp_path, f"INSERT INTO api_keys ({columns}) VALUES ($1, $2, $3, $4, $5, $6)", *row)  # noqa: S608 - ours
    again = await start()
    assert await status(again, former) == 200
    assert (await listed(again))["key_former"]["scope"] == "read"


async def test_a_restriction_names_accounts_that_exist(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", "other", account_of(provider.url))
    made = await new_key(rescind, accounts=["other", ACCOUNT, "other"])
    assert made["accounts"] == ["other", ACCOUNT]
    for accounts in (["nowhere"], [ACCOUNT, "nowhere"]):
        reply = await rescind.ask("POST", "/v1/keys", {"name": "ci", "accounts": accounts})
        assert "nowhere" in reply.problem(422, "invalid-request")["detail"]
    for accounts in ([], ["A B"], "acme", [1]):
        (await rescind.ask("POST", "/v1/keys", {"name": "ci", "accounts": accounts})).problem(422, "invalid-request")


async def test_a_key_that_is_revoked_while_its_request_comes_in_does_nothing(rescind: Rescind) -> None:
    made, sent = await new_key(rescind, scope="admin"), asyncio.Event()
    body = b'{"name": "backdoor"}'

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:5]
        await sent.wait()
        yield body[5:]

    asking = asyncio.create_task(rescind.ask("POST", "/v1/keys", key=made["key"], data=slowly()))

    async def begun() -> bool:
        return "last_used_at" in (await listed(rescind))[made["id"]]

    await until(begun, "the request to be authenticated")
    assert (await rescind.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
    sent.set()
    (await asking).problem(401, "unauthorized")
    assert "backdoor" not in {key["name"] for key in (await listed(rescind)).values()}

"""Resources and keys: changes on one node, and what the others then do by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from contract.store_cases import A, at, commit, job, order, write
from postgres import give_back, take_schema

from app.config.faults import InvalidResourceError
from app.config.keys import Keys, digest
from app.config.secrets import Vault
from app.config.store import ConfigStore, ResourceExistsError
from app.config.tokens import make_token
from app.runtime.redaction import Redactor
from app.store import AccountInUse, ApiKey, Resource, ResourceChange, Store, StoredResponse, StoreOutdated, Window
from app.store.postgres.connection import Session
from app.store.postgres.store import PostgresStore, open_postgres

NOW = datetime.now(UTC)
ACCOUNT = {
    "id": A,
    "provider": "planomatic",
    "config": {"base_url": "https://planomatic.example", "api_key": "pk_live_1f0c"},
    "limits": {"requests": 100, "per_s": 60},
}


@pytest.fixture
async def stores() -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two nodes' stores of one database."""
    schema = await take_schema()
    opened = await open_postgres(schema.target), await open_postgres(schema.target)
    yield opened
    for store in opened:
        await store.close()
    await give_back(schema)


async def node(store: Store) -> ConfigStore:
    config = ConfigStore(store, Vault(["k" * 32]), Redactor())
    await config.load()
    return config


async def test_an_account_with_cancellations_under_way_is_not_removed(store: Store) -> None:
    account = Resource("accounts", A, 1, at(0), "me", b"sealed")
    await store.save_resources([account], [], [])
    if isinstance(store, PostgresStore):
        await store._write(  # a job, without the ledger
            lambda db: db.run("INSERT INTO @jobs VALUES ($1, 1, 'o-1', 'cancel', 'can_1', 1, 1, NULL, 0, NULL, 0)", A)
        )
    else:
        aggregate = order("o-1")
        await commit(store, orders=[write(1, aggregate, job("o-1", cancellation="can_1"))], names=[(A, "o-1", 1)])
    with pytest.raises(AccountInUse):
        await store.save_resources([], [("accounts", A)], [])
    assert await store.resources() == [account]


async def test_of_two_changes_of_one_version_the_second_is_refused(stores: tuple[PostgresStore, PostgresStore]) -> None:
    one, two = stores
    version = await one.configuration_version()
    both = [Resource("accounts", id, 1, at(0), "me", b"sealed") for id in ("a", "b")]
    results = await asyncio.gather(
        one.save_resources(both[:1], [], [], expected_version=version),
        two.save_resources(both[1:], [], [], expected_version=version),
        return_exceptions=True,
    )
    assert sorted(map(str, map(type, results))) == sorted(map(str, (int, StoreOutdated)))
    assert len(await one.resources()) == 1
    assert await two.configuration_version() == version + 1


async def test_changes_whose_commits_are_not_answered_are_made_once(
    stores: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = stores
    version = await one.configuration_version()
    script, lost = Session.script, 0

    async def unanswered(session: Session, sql: str) -> None:
        nonlocal lost
        await script(session, sql)
        if sql == "COMMIT" and not lost % 2:
            lost += 1
            raise ConnectionResetError
        lost += sql == "COMMIT"

    monkeypatch.setattr(Session, "script", unanswered)
    change = ResourceChange("accounts", A, 1, at(0), "me", "create", {"id": A})
    account = Resource("accounts", A, 1, at(0), "me", b"sealed")
    assert await one.save_resources([account], [], [change], expected_version=version) == version + 1
    assert len(await one.resource_changes(Window(9))) == 1
    key = ApiKey("key_1", "ci", "read", b"hash", at(0), "me")
    await one.save_key(key, StoredResponse("k", b"digest", b"sealed", at(0)))
    assert await one.revoke_key("key_1", at(1))
    await one.save_response(StoredResponse("other", b"digest", b"sealed", at(0)))
    assert lost == 8


async def test_two_admins_at_two_nodes_lose_no_change(stores: tuple[PostgresStore, PostgresStore]) -> None:
    nodes = [await node(store) for store in stores]
    await nodes[0].create("accounts", ACCOUNT, by="me", now=NOW)

    def raised(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "limits": {**body["limits"], "requests": body["limits"]["requests"] + 1}}

    edits = [config.edit("accounts", A, raised, by="me", now=NOW) for config in nodes for _ in range(5)]
    await asyncio.gather(*edits)
    for config in nodes:
        await config.refresh()
        shown = config.shown("accounts", A)
        assert shown is not None
        assert (shown["limits"]["requests"], shown["version"]) == (110, 11)


async def test_a_resource_is_created_once_and_a_reload_is_told(stores: tuple[PostgresStore, PostgresStore]) -> None:
    one, two = [await node(store) for store in stores]
    loads: list[int] = []
    two.on_load = lambda: loads.append(two.loaded_version)
    created = await asyncio.gather(
        *(config.create("accounts", ACCOUNT, by="me", now=NOW) for config in (one, two)), return_exceptions=True
    )
    assert [type(result) for result in created if result is not None] == [ResourceExistsError]
    endpoint = {"id": "in", "account": A, "verify": {"scheme": "token", "secrets": ["d4c1f0a9b27e4e58a6c3"]}}
    await one.create("endpoints", endpoint, by="me", now=NOW)
    assert two.endpoints == {}
    assert await two.endpoint("in") is not None  # an unknown one is looked for at once
    assert loads[-1] == two.loaded_version == await stores[0].configuration_version()
    # The endpoint that another node made keeps the account that it uses.
    await two.remove("endpoints", "in", by="me", now=NOW)
    await two.create("endpoints", endpoint, by="me", now=NOW)
    with pytest.raises(InvalidResourceError, match="is used by endpoint in"):
        await one.remove("accounts", A, by="me", now=NOW)


async def test_an_older_load_does_not_replace_a_newer_change(stores: tuple[PostgresStore, PostgresStore]) -> None:
    one, _ = stores
    config = await node(one)
    read, go_on = asyncio.Event(), asyncio.Event()
    resources = one.resources

    async def slowly() -> list[Resource]:
        rows = await resources()
        read.set()
        await go_on.wait()
        return rows

    one.resources = slowly  # type: ignore[method-assign]
    load = asyncio.create_task(config.load())
    await read.wait()
    await config.create("accounts", ACCOUNT, by="me", now=NOW)
    go_on.set()
    await load
    assert list(config.accounts) == [A]


async def test_keys_that_another_node_made_or_revoked(stores: tuple[PostgresStore, PostgresStore]) -> None:
    token = make_token()
    key = ApiKey("key_1", "ci", "read", digest(token), at(0), "me")
    keys = Keys(stores[1], "")
    await keys.load()
    assert await keys.look_up(token) is None
    await stores[0].save_key(key, None)
    assert keys.find(token) is None
    found = await keys.look_up(token)
    assert found is not None
    assert found.id == "key_1"
    assert await stores[0].revoke_key("key_1", at(5))
    await keys.load()  # as a node does when the version of the keys has changed
    assert await keys.look_up(token) is None
    assert "was revoked" in keys.why_refused(token)


async def test_what_nobody_made_is_looked_up_so_often_and_no_more(store: Store) -> None:
    keys, asked = Keys(store, ""), 0

    async def counted(_hash: bytes) -> bool:
        nonlocal asked
        asked += 1
        return False

    store.api_key_exists = counted  # type: ignore[method-assign]
    await asyncio.gather(*(keys.look_up(make_token()) for _ in range(500)))
    assert 0 < asked <= 40  # it may have become the next second
    was = asked
    await keys.look_up("rk_mistyped")
    assert asked == was

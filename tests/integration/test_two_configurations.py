"""Two nodes on one PostgreSQL: no commit decides by resources that another node has changed."""

from __future__ import annotations

from conftest import Start
from postgres import give_back, take_schema
from servers import ACCOUNT, SECRET_KEY, account_of

from app.core.pauses import Pause
from app.node import Node
from app.store.node_protocol import NodeChanges


async def test_a_commit_waits_for_what_another_node_has_configured(start: Start) -> None:
    schema = await take_schema()
    target = schema.target
    settings = {"database_url": target.url, "database_schema": target.schema, "secret_key": SECRET_KEY}
    one, two = await start(**settings), await start(**settings)
    nodes: list[Node] = [one.node, two.node]

    async def nothing() -> NodeChanges:
        return NodeChanges()

    nodes[1].store.changes = nothing  # type: ignore[method-assign]
    for number in range(5):
        body = account_of("http://127.0.0.1:9", limits={"requests": 10 + number, "per_s": 60})
        await nodes[0].apply({"accounts": [{**body, "id": ACCOUNT}]}, by="me")
        # The other node is not told: its next commit finds out.
        changed_at = nodes[0].config.changed_at["accounts", ACCOUNT]
        assert nodes[1].config.version("accounts", ACCOUNT) == number
        await nodes[1].ledger.pause(Pause(f"account:{number}", "because", changed_at, "me"))
        assert nodes[1].config.version("accounts", ACCOUNT) == number + 1
        assert nodes[1].config.loaded_version == nodes[0].config.loaded_version
    for node in (one, two):
        await node.stop()
    await give_back(schema)

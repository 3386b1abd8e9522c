"""The log's hash chain: its signed checkpoints."""

from __future__ import annotations

from datetime import UTC, datetime

from app.core.checkpoint import Checkpoint, checkpoint_of
from app.web import events
from app.web.examples import example
from app.web.pages import Page, PageQuery, page
from app.web.problems import Kind, Problem
from app.web.routes import Call, RouteTable

ROUTES = RouteTable(events.ROUTES.tag)
_NONE = Problem(Kind.NOT_FOUND, "The log has no checkpoint yet: its first events are sealed within seconds.")

example(
    Checkpoint(
        block=1204,
        first_position=88_140,
        last_position=88_163,
        sealed_at=datetime(2026, 3, 2, 9, 45, 1, tzinfo=UTC),
        root="9f2c1e0b7a6d5f4e3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0f9e8d7c6b",
        signature="q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kA==",
        public_key="EjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8=",
    )
)


@ROUTES.get("/v1/log/checkpoints")
async def list_checkpoints(call: Call, query: PageQuery) -> Page[Checkpoint]:
    """The signed checkpoints of the event log, newest first.

    The log is a hash chain of blocks: the root of each covers its events and the root of the block before. Anyone who
    keeps a checkpoint elsewhere can tell later whether anything up to it was changed, by
    `rescind log verify --against FILE`.
    """
    window, key = query.window(), call.node.log_sealer.public_key
    blocks = await call.node.store.blocks(window)
    return page([(block.number, checkpoint_of(block, key)) for block in blocks], window)


@ROUTES.get("/v1/log/checkpoints/latest", problems=[_NONE])
async def get_latest_checkpoint(call: Call) -> Checkpoint:
    """The latest signed checkpoint of the event log."""
    block = await call.node.store.last_block()
    if block is None:
        raise _NONE
    return checkpoint_of(block, call.node.log_sealer.public_key)

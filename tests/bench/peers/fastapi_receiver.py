"""FastAPI and SQLAlchemy, as their documentation has it: each webhook is a transaction of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import DateTime, LargeBinary, String, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SECRET = os.environ["HOOK_SECRET"].encode()
# One connection: several would wait for each other's lock by sleeping, and record fewer webhooks.
engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['DATABASE']}", pool_size=1, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """All tables."""


class Event(Base):
    """A webhook, as it came."""

    __tablename__ = "events"
    key: Mapped[str] = mapped_column(String, primary_key=True)
    endpoint: Mapped[str] = mapped_column(String)
    order_id: Mapped[str] = mapped_column(String, index=True)
    type: Mapped[str] = mapped_column(String)
    received_at: Mapped[datetime] = mapped_column(DateTime)
    body: Mapped[bytes] = mapped_column(LargeBinary)


@event.listens_for(engine.sync_engine, "connect")
def durable(connection, _) -> None:  # noqa: ANN001 - SQLAlchemy's
    """Every commit is on disk."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.close()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the table."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/{endpoint}")
async def receive(endpoint: str, request: Request) -> dict[str, str]:
    """Verify, store, commit, respond."""
    body = await request.body()
    expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
        raise HTTPException(401)
    told = json.loads(body)
    order = str(told["order_id"])
    values = {
        "key": f"{order}:{told['event']}:{told['occurred_at']}",
        "endpoint": endpoint,
        "order_id": order,
        "type": told["event"],
        "received_at": datetime.now(UTC).replace(tzinfo=None),
        "body": body,
    }
    async with sessions() as session:
        result = await session.execute(insert(Event).values(**values).on_conflict_do_nothing())
        await session.commit()
    return {"status": "accepted" if result.rowcount else "duplicate"}

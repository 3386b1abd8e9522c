"""Attempts: the calls to providers about orders, and what came of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from app.core.aggregate import JobKind
from app.runtime import ids
from app.store.filters import AttemptFilter
from app.web import examples, schemas
from app.web.examples import example
from app.web.fields import Moment
from app.web.pages import OrderQuery, PageQuery, SearchPage, order_number, require_known, search_page
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, ApiTag, Call, RouteTable

ID = "att_06544770be4cb000"
ROUTES = RouteTable(
    ApiTag("Attempts", "Calls to providers: cancels and probes, with what was sent and answered."), id=ID
)
_MISSING = Problem(Kind.NOT_FOUND, f"There is no attempt {ID!r}.")
_EXAMPLE = example(
    schemas.Attempt(
        id=ID,
        account=examples.ACCOUNT,
        order=examples.ORDER,
        kind=JobKind.CANCEL,
        cancellation=examples.CANCELLATION,
        started_at=examples.REQUESTED_AT,
        ended_at=datetime(2026, 3, 2, 9, 45, 0, 212000, tzinfo=UTC),
        calls=1,
        outcome="succeeded",
        detail="PlanOmatic accepted it.",
        exchanges=[],
    )
)
example(schemas.AttemptSummary(**{name: getattr(_EXAMPLE, name) for name in schemas.AttemptSummary.__struct_fields__}))


class AttemptsQuery(PageQuery, OrderQuery):
    """Filters for attempts."""

    cancellation: str | None = Field(None, description="Only calls for this cancellation.")
    kind: Literal["cancel", "probe"] | None = Field(None, description="Only calls of this kind.")
    outcome: str | None = Field(
        None,
        max_length=50,
        description="Only calls with this outcome: succeeded, accepted, refused, retry, unauthorized, indeterminate, "
        "interrupted.",
    )
    since: Moment | None = Field(None, description="Begun at this time or later.")
    until: Moment | None = Field(None, description="Begun before this time.")


@ROUTES.get("/v1/attempts", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def list_attempts(call: Call, query: AttemptsQuery) -> SearchPage[schemas.AttemptSummary]:
    """Calls to providers about orders, newest first, without what was sent and answered."""
    window = query.window()
    filters = query.model_dump(exclude={"limit", "cursor", "order"})
    order_pk = await order_number(call, query.account, query.order)
    rows = await call.node.store.search_attempts(window, AttemptFilter(order_pk=order_pk, **filters))
    require_known(call, rows, account=query.account)
    return search_page([(position, schemas.AttemptSummary.of(row)) for position, row in rows], window, rows)


@ROUTES.get("/v1/attempts/{id}", problems=[_MISSING], account_check=AccountCheck.HANDLER)
async def get_attempt(call: Call, id: str) -> schemas.Attempt:
    """One attempt, with what was sent and answered, without secrets."""
    try:
        attempt = await call.node.store.attempt(ids.read(ids.ATTEMPT, id))
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if attempt is None or not call.key.sees(attempt.account):
        raise Problem(Kind.NOT_FOUND, f"There is no attempt {id!r}.")
    return schemas.Attempt.of(attempt)

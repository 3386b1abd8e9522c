"""The route table: what a handler's signature declares, and which declarations are refused."""

from __future__ import annotations

import pytest
from msgspec import Struct

from app.config.scope import Scope
from app.web.problems import Kind
from app.web.routes import Body, Call, JsonResponse, Query, RouteTable


class Filters(Query):
    limit: int = 1


class Order(Body):
    name: str


class Created(Struct):
    id: str


async def create_order(call: Call, account: str, query: Filters, body: Order) -> JsonResponse[Created]:
    """Create an order.

    More about it.
    """
    return JsonResponse(Created(f"{call} {account} {query} {body}"))


async def delete_order(call: Call, id: str) -> None:
    """Delete an order."""
    raise AssertionError((call, id))


def test_a_route_is_read_from_the_signature_of_its_handler() -> None:
    routes = RouteTable()
    declare = routes.post("/{account}/orders", Scope.WRITE, status=201, problems=[Kind.INVALID], idempotency_key=True)
    assert declare(create_order) is create_order
    [route] = routes
    assert (route.method, route.path, route.name, route.status) == ("POST", "/{account}/orders", "createOrder", 201)
    assert (route.query, route.body, route.response) == (Filters, Order, Created)
    assert (route.summary, route.scope, route.idempotency_key) == ("Create an order.", Scope.WRITE, True)


def test_a_handler_without_query_body_and_result_declares_none() -> None:
    routes = RouteTable()
    routes.delete("/orders/{id}", Scope.ADMIN, name="dropOrder", summary="Drop it.")(delete_order)
    [route] = routes
    assert (route.query, route.body, route.response, route.status) == (Query, None, type(None), 204)
    assert (route.name, route.summary) == ("dropOrder", "Drop it.")


@pytest.mark.parametrize("path", ["/orders", "/orders/{order}", "/{account}/orders/{id}"])
def test_parameters_that_the_path_does_not_provide_are_refused(path: str) -> None:
    with pytest.raises(TypeError, match=r"delete_order: DELETE /.* provides "):
        RouteTable().delete(path, Scope.ADMIN)(delete_order)

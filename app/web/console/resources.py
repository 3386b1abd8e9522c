"""What the pages of resources (accounts, endpoints, policies, subscriptions) have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from aiohttp import web

from app.web.console import forms
from app.web.console.forms import Field, Form
from app.web.console.page import Page
from app.web.pages import NamedPageQuery
from app.web.problems import Kind, Problem
from app.web.resource_states import READ_ONLY
from app.web.resources import PutQuery

_Query = TypeVar("_Query", bound=NamedPageQuery)
ROWS = 50
ID_MAX = 100
"""Characters of an id that are looked at."""
ACCOUNTS_MAX = 500
"""Accounts that a form suggests."""


def list_query(page: Page, model: type[_Query]) -> _Query:
    """The page of a list by id: after `cursor`, or from the id `from`."""
    first = page.request.query.get("from", "").strip()
    if not first:
        return page.read_query(model, limit=ROWS)
    return page.read_query(model, limit=ROWS, cursor=id_before(first))


def id_before(id: str) -> str:
    """A cursor after which the list by id begins with `id`: "~" sorts after every character of ids."""
    id = id[:ID_MAX]  # No id is longer; what a URL names may be.
    return f"{id[:-1]}{chr(max(ord(id[-1]) - 1, 0))}~"


def editable(kind: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """A resource as it is edited: without its id and what only responses have."""
    return {name: value for name, value in shown.items() if name not in READ_ONLY[kind] and name != "id"}


def read_body(page: Page, fields: Sequence[Field], base: Mapping[str, Any]) -> dict[str, Any]:
    """The resource that was sent: as text, or by its fields. Raises `Problem`."""
    text = page.form.get("text")
    if text is None:
        return forms.read_form(fields, page.form, base)
    body = forms.read_text(text)
    body.pop("id", None)
    return body


def can_register(page: Page, account: str) -> bool:
    """Whether the account's webhooks can be registered through its provider's API."""
    resolved = page.node.config.accounts.get(account)
    return resolved is not None and resolved.no_registration is None


def require_typed(page: Page, name: str) -> None:
    """Raise `Problem` unless the name was typed that confirms the action."""
    if page.form.get("typed", "").strip() != name:
        raise Problem(Kind.INVALID, f"Nothing was done: type {name} to confirm.", field="typed")


def require_id(page: Page) -> str:
    """The id of the resource that the form creates. Raises `Problem`."""
    id = page.form.get("id", "").strip()
    text = page.form.get("text")
    if not id and text is not None:
        id = str(forms.read_text(text).get("id") or "")
    if not id:
        fault = {"path": ["id"], "message": "is required"}
        raise Problem(Kind.INVALID, "The field id: is required.", field="id", errors=[fault])
    return id


def show_new(page: Page, one: str, about: str, form: Form, problem: Problem | None = None) -> web.Response:
    """The form for a new resource."""
    status = problem.kind.status if problem else 200
    return page.render("resource_new.html", status=status, one=one, about=about, form=form, problem=problem)


def show_secret(
    page: Page,
    title: str,
    secret: str | None,
    back: tuple[str, str],
    *,
    what: str = "secret",
    notes: Sequence[str] = (),
    setup: Mapping[str, Any] | None = None,
) -> web.Response:
    """A secret that was made, which is shown once; `back` is the path and the label of the way on."""
    return page.render("secret.html", title=title, what=what, secret=secret, notes=notes, setup=setup, back=back)


async def create_by_put(page: Page, one: str, fields: Sequence[Field], base: Mapping[str, Any]) -> str:
    """Create a resource, which must not exist yet; returns its id. Raises `Problem`."""
    id = require_id(page)
    await create_as(page, one, id, read_body(page, fields, base))
    return id


async def create_as(page: Page, one: str, id: str, body: Mapping[str, Any]) -> None:
    """Create a resource of this id, which must not exist yet. Raises `Problem`."""
    if await page.api_or_none(f"get{one}", id=id) is not None:
        raise Problem(Kind.EXISTS, f"There is a resource {id!r} already: choose another id.", field="id")
    await put(page, one, id, body)


async def put(page: Page, one: str, id: str, body: Mapping[str, Any]) -> Any:
    """Save a resource, with what the person confirmed. Raises `Problem`."""
    given = {name: value for name, value in body.items() if name != "id"}
    return await page.api(f"put{one}", id=id, query=PutQuery(confirm="confirm" in page.form), body=given)


async def account_ids(page: Page) -> list[str]:
    """The ids of the accounts that the key sees, for a form's suggestions."""
    listed = await page.api_or_none("listAccounts", query=NamedPageQuery(limit=ACCOUNTS_MAX))
    return [] if listed is None else [account["id"] for account in listed["data"]]

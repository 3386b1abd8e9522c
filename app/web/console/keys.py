"""API keys: the list, a new one, and one key to replace or revoke."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from app.web import keys
from app.web.console import forms
from app.web.console.forms import Field
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path
from app.web.console.resources import id_before, list_query, require_typed, show_secret
from app.web.pages import NamedPageQuery
from app.web.problems import Kind, Problem

PAGES = PageTable()
_FIELDS = (
    Field("name", "Name", "Whose key it is: what is done with it is recorded in this name.", required=True),
    Field(
        "scope",
        "Scope",
        "read: look at everything. write: cancel, pause, test. admin: also the configuration and keys.",
        "choice",
        ("read", "write", "admin"),
        required=True,
    ),
    Field("accounts", "Only for these accounts", "Empty: for all.", "lines"),
    Field("expires_at", "Expires", "A time such as 2027-01-31T00:00:00Z. Empty: never."),
)


@PAGES.get("/keys")
async def list_keys(page: Page) -> web.Response:
    """All keys, and the form for a new one."""
    return await _show(page)


@PAGES.post("/keys")
async def create(page: Page) -> web.Response:
    """Create a key, and show it."""
    try:
        made = await page.api(keys.create_key, body=forms.read_form(_FIELDS, page.form, {}))
    except Problem as problem:
        return await _show(page, problem)
    return _show_secret(page, f"Key {made['name']} is created", made)


@PAGES.get("/keys/{id}")
async def show(page: Page) -> web.Response:
    """One key."""
    return page.render("key.html", key=await _find(page))


@PAGES.post("/keys/{id}/rotate")
async def rotate(page: Page) -> web.Response:
    """Replace it, and show the new one."""
    body = {}
    if page.form.get("overlap_h", "").strip():
        body["overlap_h"] = forms.number(page.form["overlap_h"])
    made = await page.api(keys.rotate_key, id=page.path["id"], body=body)
    return _show_secret(page, f"Key {made['name']} is replaced", made)


@PAGES.post("/keys/{id}/sessions")
async def end_sessions(page: Page) -> web.Response:
    """Sign everyone out who signed in with it."""
    key = await _find(page)
    await page.api(keys.end_sessions, id=key["id"])
    return page.redirect(path("keys", key["id"]), f"All sessions of key {key['name']} have ended.")


@PAGES.post("/keys/{id}/revoke")
async def revoke(page: Page) -> web.Response:
    """Revoke it."""
    key = await _find(page)
    require_typed(page, key["name"])
    await page.api(keys.revoke_key, id=key["id"])
    return page.redirect("/keys", f"Key {key['name']} is revoked.")


async def _show(page: Page, problem: Problem | None = None) -> web.Response:
    listed = await page.api(keys.list_keys, query=list_query(page, NamedPageQuery))
    form = forms.form_of(_FIELDS, {"scope": "read"})
    if problem is not None:
        form = forms.form_again(_FIELDS, page.form, {}, problem)
    status = problem.kind.status if problem else 200
    return page.render("keys.html", status=status, listed=listed, form=form, problem=problem, query=page.request.query)


async def _find(page: Page) -> Any:
    id = page.path["id"]
    listed = await page.api(keys.list_keys, query=NamedPageQuery(limit=1, cursor=id_before(id)))
    for key in listed["data"]:
        if key["id"] == id:
            return key
    raise Problem(Kind.NOT_FOUND, f"There is no API key {id!r}.")


def _show_secret(page: Page, title: str, made: dict[str, Any]) -> web.Response:
    notes = ["Rescind keeps only a digest of it: nobody can look it up later."]
    return show_secret(page, title, made["key"], (path("keys"), "To all keys"), what="key", notes=notes)

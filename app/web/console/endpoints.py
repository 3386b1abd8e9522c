"""Endpoints: the list, one endpoint with what came to it, its secret, its settings and its registrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from aiohttp import web

from app.config.scope import Scope
from app.contract import VerifyOptions
from app.web import endpoint_tests, endpoints, receipts, registrations
from app.web.auth import require_scope
from app.web.console import forms
from app.web.console.forms import Field
from app.web.console.page import Page, PageTable
from app.web.console.rendering import absolute, path
from app.web.console.resources import (
    account_ids,
    can_register,
    editable,
    list_query,
    put,
    read_body,
    require_typed,
    show_new,
    show_secret,
)
from app.web.problems import Problem
from app.web.resources import ResourcesQuery

PAGES = PageTable()
_SCHEMES = get_args(VerifyOptions.model_fields["scheme"].annotation)
_SETTINGS = (
    Field("allow_from", "Take requests only from", "Networks such as 203.0.113.0/24. Empty: from everywhere.", "lines"),
    Field("silent_after", "Tell when nothing comes for", "A duration such as 6h; empty: never."),
    Field("keep_registered", "Keep it registered", "Register the URL through the provider's API.", "flag", (), "no"),
    Field(
        "quarantine_status",
        "Status for a quarantined webhook",
        "200 for a provider that accepts no other.",
        "choice",
        ("200", "202"),
        "202",
    ),
    Field("verify.scheme", "How requests are verified", "handler: the provider's own way.", "choice", _SCHEMES),
    Field("verify.header", "Header of the token or signature", "If it is not at the scheme's usual place."),
)
_NEW = (
    Field("id", "Id", "Lower-case letters, digits, dots and hyphens. It is part of the URL. Empty: one is made."),
    Field("account", "Account", required=True),
    Field(
        "secret",
        "Secret",
        "Empty: one is generated, and shown once. Give it where the provider makes the secret.",
        "secret",
    ),
    *_SETTINGS,
)
_NEW_PAGE = ("endpoint", "A URL at which the provider of an account delivers its webhooks.")


@PAGES.get("/endpoints")
async def list_endpoints(page: Page) -> web.Response:
    """All endpoints, with what came to them."""
    listed = await page.api("listEndpoints", query=list_query(page, ResourcesQuery))
    states = {endpoint["id"]: _state(endpoint) for endpoint in listed["data"]}
    return page.render("endpoints.html", listed=listed, states=states, query=page.request.query)


@PAGES.get("/endpoints/~new")
async def show_form(page: Page) -> web.Response:
    """The form for a new endpoint. Raises `Problem` without scope admin."""
    require_scope(page.key, Scope.ADMIN)
    account = {"account": page.request.query.get("account", "")}
    return show_new(page, *_NEW_PAGE, forms.form_of(await _new_fields(page), account))


@PAGES.post("/endpoints/~new")
async def create(page: Page) -> web.Response:
    """Create an endpoint, and show its secret."""
    fields = await _new_fields(page)
    try:
        body = read_body(page, fields, {})
        secret = body.pop("secret", None)
        if secret:
            body["verify"] = {**body.get("verify", {}), "secrets": [secret]}
        _number_status(body)
        created = await page.api(endpoints.create_endpoint, body=body)
    except Problem as problem:
        form = forms.form_again(fields, page.form, {}, problem)
        return show_new(page, *_NEW_PAGE, form, problem)
    return _show_secret(page, f"Endpoint {created['id']} is created", created)


@PAGES.get("/endpoints/{id}")
async def show(page: Page) -> web.Response:
    """One endpoint."""
    return await _show(page)


@PAGES.post("/endpoints/{id}")
async def save(page: Page) -> web.Response:
    """Change its settings."""
    id = page.path["id"]
    base = editable("endpoints", await page.api("getEndpoint", id=id))
    try:
        body = read_body(page, _SETTINGS, base)
        _number_status(body)
        await put(page, "Endpoint", id, body)
    except Problem as problem:
        return await _show(page, problem=problem, form=forms.form_again(_SETTINGS, page.form, base, problem))
    return page.redirect(path("endpoints", id), f"Endpoint {id} is changed.")


@PAGES.post("/endpoints/{id}/rotate")
async def rotate(page: Page) -> web.Response:
    """Give it a new secret, and show that."""
    id = page.path["id"]
    rotated = await page.api(endpoints.rotate_endpoint, id=id, body=forms.rotation(page.form))
    return _show_secret(page, f"Endpoint {id} has a new secret", rotated)


@PAGES.post("/endpoints/{id}/test")
async def test(page: Page) -> web.Response:
    """Send a sample through the real path, and show how it fared."""
    return await _show(page, sample=await page.api(endpoint_tests.send_sample, id=page.path["id"], body={}))


@PAGES.post("/endpoints/{id}/enable")
async def enable(page: Page) -> web.Response:
    """Take webhooks again."""
    await page.api(endpoints.enable_endpoint, id=page.path["id"])
    return page.redirect(path("endpoints", page.path["id"]), "The endpoint takes webhooks again.")


@PAGES.post("/endpoints/{id}/disable")
async def disable(page: Page) -> web.Response:
    """Answer 404 to webhooks."""
    await page.api(endpoints.disable_endpoint, id=page.path["id"])
    return page.redirect(path("endpoints", page.path["id"]), "The endpoint is disabled: its URL answers 404.")


@PAGES.post("/endpoints/{id}/delete")
async def delete(page: Page) -> web.Response:
    """Remove it."""
    id = page.path["id"]
    require_typed(page, id)
    await page.api("deleteEndpoint", id=id)
    return page.redirect("/endpoints", f"Endpoint {id} is removed.")


@PAGES.get("/endpoints/{id}/registrations")
async def show_registrations(page: Page) -> web.Response:
    """The webhooks registered at the provider, asked for now."""
    id = page.path["id"]
    endpoint = await page.api("getEndpoint", id=id)
    status = await page.api(registrations.show_registrations, id=id)
    return page.render("registrations.html", endpoint=endpoint, checked=status)


@PAGES.post("/endpoints/{id}/register")
async def register(page: Page) -> web.Response:
    """Register what is missing at the provider."""
    id = page.path["id"]
    status = await page.api(registrations.register, id=id, body={})
    restored = ", ".join(status["restored"])
    notice = f"Registered: {restored}." if restored else "Nothing was missing."
    return page.redirect(path("endpoints", id, "registrations"), notice)


@PAGES.post("/endpoints/{id}/unregister")
async def unregister(page: Page) -> web.Response:
    """Remove its webhooks at the provider."""
    id = page.path["id"]
    require_typed(page, id)
    removed = await page.api(registrations.unregister, id=id, body={})
    return page.redirect(path("endpoints", id, "registrations"), f"{len(removed['removed'])} registrations removed.")


async def _new_fields(page: Page) -> list[Field]:
    ids = await account_ids(page)
    return [replace(field, options=ids) if field.name == "account" else field for field in _NEW]


async def _show(page: Page, *, problem: Problem | None = None, **given: Any) -> web.Response:
    id = page.path["id"]
    endpoint = await page.api("getEndpoint", id=id)
    query = receipts.ReceiptsQuery(account=endpoint["account"], endpoint=id, limit=10)
    context = {
        "receipts": await page.api(receipts.list_receipts, query=query),
        "refusals": await page.api(endpoints.list_refusals, id=id),
        "form": forms.form_of(_SETTINGS, editable("endpoints", endpoint)),
        "sample": None,
    }
    status = problem.kind.status if problem else 200
    return page.render(
        "endpoint.html",
        status=status,
        endpoint=endpoint,
        state=_state(endpoint),
        registers=can_register(page, endpoint["account"]),
        problem=problem,
        **{**context, **given},
    )


def _show_secret(page: Page, title: str, made: Mapping[str, Any]) -> web.Response:
    former = made.get("former_valid_until")
    notes = [f"The former secret is accepted until {absolute(former)}."] if former else []
    back = path("endpoints", made["id"]), "To the endpoint"
    return show_secret(page, title, made.get("secret"), back, notes=notes, setup=made["setup"])


def _number_status(body: dict[str, Any]) -> None:
    status = body.get("quarantine_status")
    if isinstance(status, str):
        body["quarantine_status"] = forms.whole(status, status)


def _state(endpoint: Mapping[str, Any]) -> str:
    traffic = endpoint["traffic"]
    if not endpoint.get("enabled", True):
        return "disabled"
    if traffic["failing_since"]:
        return "failing"
    return "silent" if traffic["silent_since"] else "active"

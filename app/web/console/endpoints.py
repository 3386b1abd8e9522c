"""Endpoints: the list, one endpoint with what came to it, its secret, its settings and its registrations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from app.config.scope import Scope
from app.web import endpoint_tests, endpoints, overview, receipts, registrations
from app.web.auth import require_scope
from app.web.console import forms, verification
from app.web.console.forms import Field, Form
from app.web.console.page import Page, PageTable
from app.web.console.proofs import proof_in_words
from app.web.console.rendering import absolute, path
from app.web.console.resources import (
    account_ids,
    can_register,
    editable,
    list_query,
    put,
    require_typed,
    show_new,
    show_secret,
)
from app.web.console.texts import save_text
from app.web.problems import Kind, Problem
from app.web.resources import ResourcesQuery

PAGES = PageTable()
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
    verification.CHOOSER,
)
_NEW = (
    Field("id", "Id", "Lower-case letters, digits, dots and hyphens. It is part of the URL. Empty: one is made."),
    Field("account", "Account", required=True),
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
    account = page.request.query.get("account", "")
    own = verification.own_options(page, account)
    return show_new(page, *_NEW_PAGE, _form(await _new_fields(page), {"account": account}, own))


@PAGES.post("/endpoints/~new")
async def create(page: Page) -> web.Response:
    """Create an endpoint, and show its secret."""
    fields, own = await _new_fields(page), verification.own_options(page, page.form.get("account", "").strip())
    if _shows_other_options(page, {}):
        require_scope(page.key, Scope.ADMIN)
        return show_new(page, *_NEW_PAGE, _form_with_other_options(page, fields, {}, own))
    try:
        created = await _save(page, fields, {}, own, lambda body: page.api(endpoints.create_endpoint, body=body))
    except Problem as problem:
        return show_new(page, *_NEW_PAGE, _form_again(page, fields, {}, own, problem), problem)
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
    own = verification.own_options(page, base["account"])
    if _shows_other_options(page, base):
        require_scope(page.key, Scope.ADMIN)
        return await _show(page, form=_form_with_other_options(page, _SETTINGS, base, own), is_open=True)
    try:
        await _save(page, _SETTINGS, base, own, lambda body: put(page, "Endpoint", id, body))
    except Problem as problem:
        return await _show(page, problem=problem, form=_form_again(page, _SETTINGS, base, own, problem))
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
    return [field.changed(options=ids) if field.name == "account" else field for field in _NEW]


def _form(fields: Sequence[Field], body: Mapping[str, Any], own: frozenset[str] | None) -> Form:
    """The form for an endpoint; `own` as of `verification.own_options`."""
    scheme = verification.scheme_of(body)
    groups = verification.groups(own, is_new="id" in {field.name for field in fields})
    form = forms.form_of([*fields, *verification.fields_of(groups, scheme)], body)
    form.groups, form.chosen = groups, scheme
    return form


def _form_again(
    page: Page,
    fields: Sequence[Field],
    base: Mapping[str, Any],
    own: frozenset[str] | None,
    problem: Problem,
    members: Mapping[str, str] | None = None,
) -> Form:
    """The form as it was sent, with the faults."""
    scheme = verification.chosen_scheme(page.form, base)
    groups = verification.groups(own, is_new="id" in {field.name for field in fields})
    chosen = [*fields, *verification.fields_of(groups, scheme)]
    body = verification.base_for(base, scheme)
    form = forms.form_again(chosen, page.form if members is None else members, body, problem)
    form.groups, form.chosen = groups, scheme
    return form


def _shows_other_options(page: Page, base: Mapping[str, Any]) -> bool:
    """Whether the page must show the options of another scheme before anything can be saved."""
    return "text" not in page.form and verification.is_unseen(page.form, verification.chosen_scheme(page.form, base))


def _form_with_other_options(
    page: Page, fields: Sequence[Field], base: Mapping[str, Any], own: frozenset[str] | None
) -> Form:
    """The form as it was sent, with the options of the scheme that was chosen."""
    members = verification.members_for_other_scheme(page.form)
    form = _form_again(page, fields, base, own, Problem(Kind.INVALID, ""), members)
    form.note = f"These are the options of {form.chosen}: nothing is saved yet. Fill in what the source asks for."
    return form


async def _save(
    page: Page,
    fields: Sequence[Field],
    base: Mapping[str, Any],
    own: frozenset[str] | None,
    save: Callable[[dict[str, Any]], Awaitable[Any]],
) -> Any:
    """What `save` makes of the endpoint that was sent. Raises `Problem`."""
    if "text" in page.form:
        return await save_text(page, "endpoints", base, save)
    scheme = verification.chosen_scheme(page.form, base)
    chosen = [*fields, *verification.fields_of(verification.groups(own, is_new=False), scheme)]
    body = forms.read_form(chosen, page.form, verification.base_for(base, scheme))
    status = body.get("quarantine_status")
    if isinstance(status, str):
        body["quarantine_status"] = forms.whole(status, status)
    return await save(verification.without_needless_secrets(body, page.form))


async def _show(page: Page, *, problem: Problem | None = None, is_open: bool = False, **given: Any) -> web.Response:
    id = page.path["id"]
    endpoint = await page.api("getEndpoint", id=id)
    query = receipts.ReceiptsQuery(account=endpoint["account"], endpoint=id, limit=10)
    own = verification.own_options(page, endpoint["account"])
    context = {
        "receipts": await page.api(receipts.list_receipts, query=query),
        "refusals": await page.api(endpoints.list_refusals, id=id),
        "form": _form(_SETTINGS, editable("endpoints", endpoint), own),
        "sample": None,
    }
    status = problem.kind.status if problem else 200
    return page.render(
        "endpoint.html",
        status=status,
        endpoint=endpoint,
        state=_state(endpoint),
        proof=proof_in_words(endpoint.get("verify", {}), _title(page, endpoint["account"])),
        keys=await _key_findings(page, endpoint),
        registers=can_register(page, endpoint["account"]),
        problem=problem,
        is_open=is_open or problem is not None,
        **{**context, **given},
    )


async def _key_findings(page: Page, endpoint: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What is wrong with the keys that are fetched from the source; None where none are."""
    if not (verification.scheme_of(endpoint) == "sns" or endpoint.get("verify", {}).get("keys")):
        return None
    now = await page.api(overview.get_overview, query=overview.OverviewQuery(account=endpoint["account"]))
    what = f"endpoint {endpoint['id']}"
    return [finding for finding in now["findings"] if finding["code"] == "keys" and finding["what"] == what]


def _title(page: Page, account: str) -> str:
    """The name of the account's provider."""
    resolved = page.node.config.accounts.get(account)
    return account if resolved is None else resolved.handler.title


def _show_secret(page: Page, title: str, made: Mapping[str, Any]) -> web.Response:
    former = made.get("former_valid_until")
    notes = [f"The former secret is accepted until {absolute(former)}."] if former else []
    back = path("endpoints", made["id"]), "To the endpoint"
    return show_secret(page, title, made.get("secret"), back, notes=notes, setup=made["setup"])


def _state(endpoint: Mapping[str, Any]) -> str:
    traffic = endpoint["traffic"]
    if not endpoint.get("enabled", True):
        return "disabled"
    if traffic["failing_since"]:
        return "failing"
    return "silent" if traffic["silent_since"] else "active"

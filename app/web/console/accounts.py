"""Accounts: the list, one account with its lane and its webhooks, and its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from app.config.scope import Scope
from app.runtime.redaction import REDACTED
from app.web import overview, pauses, providers
from app.web.auth import require_scope
from app.web.console import forms
from app.web.console.forms import Field
from app.web.console.overview import where_to_act
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path
from app.web.console.resources import (
    can_register,
    create_as,
    create_by_put,
    editable,
    list_query,
    put,
    read_body,
    require_typed,
)
from app.web.console.texts import save_text
from app.web.pages import NamedPageQuery
from app.web.problems import Kind, Problem
from app.web.resources import ResourcesQuery

PAGES = PageTable()
LISTED_MAX = 100
_COMMON = (
    Field(
        "limits.requests",
        "Calls in a window",
        "At most so many calls in any window; or a leaky bucket, as text below.",
        "number",
    ),
    Field("limits.per_s", "Length of the window", "In seconds.", "number"),
    Field("limits.concurrency", "Calls under way at a time", "", "number"),
    Field("deadline_h", "Deadline of a cancellation", "In hours, if it has none of its own.", "number", (), "72"),
    Field(
        "unknown_orders",
        "Cancel of an order that is not known",
        "probe: ask the provider about it first.",
        "choice",
        ("probe", "send", "reject"),
        "probe",
    ),
    Field("stale_after_s", "Evidence is stale after", "In seconds: then a probe precedes the cancel.", "number"),
    Field("polling", "Polling", "Probe quiet orders: a JSON object with every_s, when, quiet_after_s, share.", "json"),
)


@PAGES.get("/accounts")
async def list_accounts(page: Page) -> web.Response:
    """All accounts, with the state of their lanes."""
    listed = await page.api("listAccounts", query=list_query(page, NamedPageQuery))
    return page.render("accounts.html", listed=listed, query=page.request.query)


@PAGES.get("/accounts/~new")
async def show_new(page: Page) -> web.Response:
    """The providers to choose from; then the form for an account there. Raises `Problem` without scope admin."""
    require_scope(page.key, Scope.ADMIN)
    return await _show_new(page)


@PAGES.post("/accounts/~new")
async def create(page: Page) -> web.Response:
    """Create an account."""
    provider = page.form.get("provider", "")
    fields = _new_fields(await _provider(page, provider))
    base: dict[str, Any] = {"provider": provider}
    try:
        id = await _create(page, fields, base)
    except Problem as problem:
        return await _show_new(page, problem=problem, form=forms.form_again(fields, page.form, base, problem))
    return page.redirect(path("accounts", id), f"Account {id} is created.")


@PAGES.get("/accounts/{id}")
async def show(page: Page) -> web.Response:
    """One account."""
    return await _show(page)


@PAGES.post("/accounts/{id}")
async def save(page: Page) -> web.Response:
    """Change its configuration."""
    id = page.path["id"]
    base = editable("accounts", await page.api("getAccount", id=id))
    fields = _fields(await _provider(page, base["provider"]))
    try:
        if "text" in page.form:
            await save_text(page, "accounts", base, lambda body: put(page, "Account", id, body))
        else:
            await put(page, "Account", id, read_body(page, fields, base))
    except Problem as problem:
        return await _show(page, problem=problem, form=forms.form_again(fields, page.form, base, problem))
    return page.redirect(path("accounts", id), f"Account {id} is changed.")


@PAGES.post("/accounts/{id}/pause")
async def pause(page: Page) -> web.Response:
    """Stop sending for it."""
    id, reason = page.path["id"], page.form.get("reason", "").strip()
    await page.api(pauses.pause, body={"account": id, **({"reason": reason} if reason else {})})
    return page.redirect(path("accounts", id), f"Nothing is sent for account {id} until it is resumed.")


@PAGES.post("/accounts/{id}/resume")
async def resume(page: Page) -> web.Response:
    """Send for it again."""
    id = page.path["id"]
    await page.api(pauses.resume, body={"account": id})
    return page.redirect(path("accounts", id), f"Account {id} is resumed.")


@PAGES.post("/accounts/{id}/delete")
async def delete(page: Page) -> web.Response:
    """Remove it."""
    id = page.path["id"]
    require_typed(page, id)
    await page.api("deleteAccount", id=id)
    return page.redirect("/accounts", f"Account {id} is removed.")


async def _show(page: Page, *, problem: Problem | None = None, form: forms.Form | None = None) -> web.Response:
    id = page.path["id"]
    account = await page.api("getAccount", id=id)
    provider = await _provider(page, account["provider"])
    now = await page.api(overview.get_overview, query=overview.OverviewQuery(account=id))
    of_account = ResourcesQuery(account=id, limit=LISTED_MAX)
    endpoints = await page.api("listEndpoints", query=of_account)
    policies = await page.api_or_none("listPolicies", query=of_account)
    return page.render(
        "account.html",
        status=problem.kind.status if problem else 200,
        account=account,
        provider=provider,
        limits=account.get("limits") or (provider or {}).get("limits", {}),
        lane=next(iter(now["lanes"]["first"]), None),
        findings=[(finding, *where_to_act(finding)) for finding in now["findings"]],
        endpoints=endpoints["data"],
        registers=can_register(page, id),
        policies=policies["data"] if policies else [],
        secrets=_secrets(account.get("config", {})),
        form=form or forms.form_of(_fields(provider), editable("accounts", account)),
        problem=problem,
    )


async def _show_new(page: Page, *, problem: Problem | None = None, form: forms.Form | None = None) -> web.Response:
    listed = await page.api(providers.list_providers)
    name = page.form.get("provider") or page.request.query.get("provider", "")
    provider = next((given for given in listed["data"] if given["name"] == name), None)
    if form is None and provider is not None:
        form = forms.form_of(_new_fields(provider), {"provider": name})
        form.text = f"id:\nprovider: {name}\nconfig:\n"
    return page.render(
        "account_new.html",
        status=problem.kind.status if problem else 200,
        providers=listed["data"],
        provider=provider,
        form=form,
        problem=problem,
    )


async def _create(page: Page, fields: Sequence[Field], base: Mapping[str, Any]) -> str:
    """Create the account that was sent; returns its id. Raises `Problem`."""
    if "text" not in page.form:
        return await create_by_put(page, "Account", fields, base)

    async def create_typed(body: Mapping[str, Any]) -> str:
        id = str(body.get("id") or "")
        if not id:
            fault = {"path": ["id"], "message": "is required"}
            raise Problem(Kind.INVALID, "The text has no id.", errors=[fault])
        await create_as(page, "Account", id, {**base, **body})
        return id

    return str(await save_text(page, "accounts", {}, create_typed))


async def _provider(page: Page, name: str) -> dict[str, Any] | None:
    listed = await page.api(providers.list_providers)
    return next((provider for provider in listed["data"] if provider["name"] == name), None)


def _new_fields(provider: Mapping[str, Any] | None) -> list[Field]:
    about = "Lower-case letters, digits, dots and hyphens. It stays for ever."
    return [Field("id", "Id", about, required=True), *_fields(provider)]


def _fields(provider: Mapping[str, Any] | None) -> Sequence[Field]:
    """The fields of an account at a provider, as its handler declares them."""
    if provider is None:
        return _COMMON
    config = forms.fields_of_schema("config", provider["config"])
    rules = forms.fields_of_schema("rules", provider["rules"])
    return [*config, *_COMMON, *rules]


def _secrets(config: Mapping[str, Any]) -> list[str]:
    """The names of the secrets that are set."""
    return [name for name, value in config.items() if value == REDACTED]

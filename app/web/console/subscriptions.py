"""Subscriptions: the list, one subscription with its deliveries, its secret and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from aiohttp import web

from app.config.formats import Format
from app.config.scope import Scope
from app.core.outbound.types import CLOSING_SOON, OUTBOUND_TYPES
from app.web import deliveries, messages, subscriptions
from app.web.auth import require_scope
from app.web.console import forms
from app.web.console.forms import Field
from app.web.console.page import Page, PageTable, in_utc
from app.web.console.rendering import path
from app.web.console.resources import editable, list_query, put, read_body, require_typed, show_new, show_secret
from app.web.pages import NamedPageQuery
from app.web.problems import Kind, Problem

PAGES = PageTable()
_FIELDS = (
    Field("description", "Description"),
    Field("format", "Format", "standard: webhooks. The others are notices to people.", "choice", get_args(Format)),
    Field("url", "URL", "Where messages are sent; mailto:… with format email. Empty: they wait to be pulled."),
    Field("events", "Types of messages", "Such as cancellation.*; empty: all.", "lines"),
    Field("accounts", "Accounts", "Such as acme-*; empty: all.", "lines"),
    Field("payload", "Payload", "full adds the order as it was.", "choice", ("thin", "full"), "thin"),
    Field("ordered", "In order", "The messages of one order are sent one after the other.", "flag", (), "no"),
    Field("closing_soon", "Tell that a window closes", "So long before, such as 1h.", "text", (), "1h"),
    Field("concurrency", "Deliveries under way at a time", "", "number"),
    Field("rate_per_s", "Deliveries in a second, at most", "", "number"),
    Field("timeout_s", "Time limit of a delivery, in seconds", "", "number"),
    Field("headers", "Headers", "Sent with each delivery: a JSON object. ********** keeps a value.", "json"),
    Field("routing_key", "Integration key", "For format pagerduty.", "secret"),
    Field("digest", "Gather for", "What is not urgent is told as one, such as 1h."),
    Field("quiet_hours", "Quiet hours", "A JSON object.", "json"),
    Field("urgent", "Urgent types", "Sent at once. Empty: those marked so in the reference.", "lines"),
    Field("template", "Template", "The request, for format template: a JSON object.", "json"),
    Field("approval_links", "Links of proposed cancels", "", "choice", ("act", "view"), "act"),
)
_NEW = (
    Field("id", "Id", "Lower-case letters, digits, dots and hyphens. Empty: one is made."),
    *_FIELDS[:3],
    Field("secret", "Signing secret", "Empty: one is generated, and shown once.", "secret"),
    *_FIELDS[3:],
)
_NEW_PAGE = ("subscription", "Where Rescind sends its own webhooks and notices.")


@PAGES.get("/subscriptions")
async def list_subscriptions(page: Page) -> web.Response:
    """All subscriptions, with how their deliveries fare."""
    listed = await page.api("listSubscriptions", query=list_query(page, NamedPageQuery))
    return page.render("subscriptions.html", listed=listed, query=page.request.query)


@PAGES.get("/subscriptions/~new")
async def show_form(page: Page) -> web.Response:
    """The form for a new subscription. Raises `Problem` without scope admin."""
    require_scope(page.key, Scope.ADMIN)
    return show_new(page, *_NEW_PAGE, forms.form_of(_NEW, {}))


@PAGES.post("/subscriptions/~new")
async def create(page: Page) -> web.Response:
    """Create a subscription, and show its secret."""
    try:
        body = forms.read_text(page.form["text"]) if "text" in page.form else read_body(page, _NEW, {})
        created = await page.api(subscriptions.create_subscription, body=body)
    except Problem as problem:
        return show_new(page, *_NEW_PAGE, forms.form_again(_NEW, page.form, {}, problem), problem)
    return _show_secret(page, f"Subscription {created['id']} is created", created)


@PAGES.get("/subscriptions/{id}")
async def show(page: Page) -> web.Response:
    """One subscription."""
    return await _show(page)


@PAGES.post("/subscriptions/{id}")
async def save(page: Page) -> web.Response:
    """Change its settings."""
    id = page.path["id"]
    base = editable("subscriptions", await page.api("getSubscription", id=id))
    try:
        await put(page, "Subscription", id, read_body(page, _FIELDS, base))
    except Problem as problem:
        return await _show(page, problem=problem, form=forms.form_again(_FIELDS, page.form, base, problem))
    return page.redirect(path("subscriptions", id), f"Subscription {id} is changed.")


@PAGES.post("/subscriptions/{id}/rotate")
async def rotate(page: Page) -> web.Response:
    """Give it a new secret, and show that."""
    id = page.path["id"]
    rotated = await page.api(subscriptions.rotate_subscription, id=id, body=forms.rotation(page.form))
    return _show_secret(page, f"Subscription {id} has a new secret", rotated)


@PAGES.post("/subscriptions/{id}/test")
async def test(page: Page) -> web.Response:
    """Send an example, and show how it fared."""
    id = page.path["id"]
    sent = await page.api(messages.send_test, id=id, body={"type": page.form.get("type") or CLOSING_SOON})
    return page.redirect(path("subscriptions", id, "deliveries", sent["message"]), "An example was sent.")


@PAGES.post("/subscriptions/{id}/enable")
async def enable(page: Page) -> web.Response:
    """Send again."""
    await page.api(subscriptions.enable_subscription, id=page.path["id"])
    return page.redirect(path("subscriptions", page.path["id"]), "The subscription is enabled: what was held is sent.")


@PAGES.post("/subscriptions/{id}/disable")
async def disable(page: Page) -> web.Response:
    """Hold its deliveries."""
    await page.api(subscriptions.disable_subscription, id=page.path["id"])
    return page.redirect(path("subscriptions", page.path["id"]), "The subscription is disabled: messages are held.")


@PAGES.post("/subscriptions/{id}/delete")
async def delete(page: Page) -> web.Response:
    """Remove it."""
    id = page.path["id"]
    require_typed(page, id)
    await page.api("deleteSubscription", id=id)
    return page.redirect("/subscriptions", f"Subscription {id} is removed.")


@PAGES.post("/subscriptions/{id}/recover")
async def recover(page: Page) -> web.Response:
    """Send failed deliveries again, as many as two seconds allow; the page goes on with the rest."""
    id, since = page.path["id"], page.form.get("since", "").strip()
    if not since:
        raise Problem(Kind.INVALID, "The field since: say since when, as 2026-03-02T09:30 in UTC.", field="since")
    body: dict[str, Any] = {"since": in_utc(since)}
    if page.form.get("cursor"):
        body["cursor"] = forms.number(page.form["cursor"])
    recovery = await page.api(deliveries.recover_deliveries, id=id, body=body)
    recovered = recovery["recovered"] + forms.whole(page.form.get("recovered"), 0)
    if not recovery["has_more"]:
        notice = f"{recovered} failed deliveries are sent again."
        return page.redirect(path("subscriptions", id), notice)
    return page.render("recovery.html", id=id, recovery=recovery, recovered=recovered, since=body["since"])


@PAGES.get("/subscriptions/{id}/deliveries/{message}")
async def show_delivery(page: Page) -> web.Response:
    """One delivery, with what is sent and every attempt."""
    id, message = page.path["id"], page.path["message"]
    delivery = await page.api(deliveries.get_delivery, id=id, message=message)
    return page.render("delivery.html", delivery=delivery)


@PAGES.post("/subscriptions/{id}/deliveries/{message}/resend")
async def resend(page: Page) -> web.Response:
    """Send a delivery again."""
    id, message = page.path["id"], page.path["message"]
    await page.api(deliveries.resend_delivery, id=id, message=message)
    location = path("subscriptions", id, "deliveries", message)
    return page.redirect(location, "It is sent again, with the same id.")


async def _show(page: Page, *, problem: Problem | None = None, form: forms.Form | None = None) -> web.Response:
    id = page.path["id"]
    subscription = await page.api("getSubscription", id=id)
    fault, facets = problem, None
    try:
        sent = await page.api(
            deliveries.list_deliveries, id=id, query=page.read_query(deliveries.DeliveriesQuery, limit=25)
        )
        facets = await page.api(deliveries.count_deliveries, id=id, query=page.read_query(deliveries.DeliveryFilters))
    except Problem as error:
        sent, fault = None, error
    return page.render(
        "subscription.html",
        status=fault.kind.status if fault else 200,
        subscription=subscription,
        sent=sent,
        facets=facets,
        form=form or forms.form_of(_FIELDS, editable("subscriptions", subscription)),
        editing=problem is not None,
        problem=fault,
        types=sorted(OUTBOUND_TYPES),
        query=page.request.query,
    )


def _show_secret(page: Page, title: str, made: Mapping[str, Any]) -> web.Response:
    notes, secret = list[str](), made.get("secret")
    if secret and made.get("public_key"):
        notes = [f"Receivers verify deliveries by the public key {made['public_key']}."]
    elif secret:
        notes = ["It signs every delivery; the receiver verifies them by it (Standard Webhooks)."]
    return show_secret(page, title, secret, (path("subscriptions", made["id"]), "To the subscription"), notes=notes)

"""How NotPanel is called: one URL, a form with the key and an action, and one order or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from app.contract import HttpRequest
from handlers.notpanel.config import API_PATH, Config

BATCH_MAX = 100
"""“Cancel” and “Order status” take up to so many orders."""

_SEPARATOR = ","


def call(
    config: Config,
    action: str,
    ids: Sequence[str] = (),
    *,
    repeatable: bool,
    fields: Mapping[str, str] | None = None,
    confidential: bool = False,
) -> HttpRequest:
    """One call, about the orders `ids`; the key is in the body, as NotPanel takes it nowhere else."""
    form = {"key": config.key.get_secret_value(), "action": action}
    form |= fields or {}
    if ids:
        # Never both.
        form["order" if len(ids) == 1 else "orders"] = _SEPARATOR.join(ids)
    return HttpRequest(
        method="POST",
        url=config.base_url + API_PATH,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        body=urlencode(form, errors="surrogatepass").encode(),
        timeout_s=config.timeout_s,
        repeatable=repeatable,
        confidential=confidential,
    )


def is_nameable(id: str) -> bool:
    """Can a list of ids hold it? One that cannot is no order of NotPanel's, which lists its orders so itself."""
    return bool(id) and _SEPARATOR not in id and id == id.strip()

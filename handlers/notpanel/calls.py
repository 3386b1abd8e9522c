"""How NotPanel is called: one URL, a form with the key and an action, and one order or several."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from app.contract import HttpRequest, Order
from handlers.notpanel.config import API_PATH, Config

BATCH_MAX = 100
"""“Cancel” and “Order status” take up to so many orders."""

_SEPARATOR = ","


def call(config: Config, action: str, *, repeatable: bool, **fields: str) -> HttpRequest:
    """One call; the key is in the body, as NotPanel takes it nowhere else."""
    form = {"key": config.key.get_secret_value(), "action": action, **fields}
    return HttpRequest(
        method="POST",
        url=config.base_url + API_PATH,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        body=urlencode(form, errors="surrogatepass").encode(),
        timeout_s=config.timeout_s,
        repeatable=repeatable,
    )


def naming(ids: Sequence[str]) -> dict[str, str]:
    """The field that names the orders: `order` for one, `orders` for several, never both."""
    return {"order": ids[0]} if len(ids) == 1 else {"orders": _SEPARATOR.join(ids)}


def nameable(orders: Sequence[Order]) -> list[str]:
    """The ids that a call can name, without repeats, in the order given."""
    return list(dict.fromkeys(each.id for each in orders if is_nameable(each.id)))


def is_nameable(id: str) -> bool:
    """Can a list of ids hold it? One that cannot is no order of NotPanel's, which lists its orders so itself."""
    return bool(id) and _SEPARATOR not in id and id == id.strip()

"""What webhooks, providers and operators name cannot become markup, a script or a link of its own on any page."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from browsers import Browser
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, webhook

from app.web.console.pages import PAGES

MARK = "zqx"
MARKUP = f"</script></textarea></title>\"'><img src={MARK} onerror={MARK}()><a href=javascript:{MARK}()>{{{{7*7}}}}"
LINK = f"javascript:{MARK}()//"
BREAKS = f"a\r\nSet-Cookie: {MARK}=1\r\n\r\n<b id={MARK}>"
HOSTILE = (MARKUP, LINK, BREAKS)
_URLS = {"href", "src", "action", "formaction", "poster", "data", "xlink:href"}


class _Parts(HTMLParser):
    """Notes what a browser would run or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if any(name.startswith("on") or name in ("style", "srcdoc") for name in given):
            self.faults.append(f"<{tag} {given}>")
        if tag in ("iframe", "object", "embed", "base") or (tag == "script" and "src" not in given):
            self.faults.append(f"<{tag}>")
        if MARK in (given.get("id", ""), given.get("src", "")):
            self.faults.append(f"<{tag} {given}>")
        for name in _URLS & given.keys():
            url = given[name]
            if not url.startswith(("/", "?", "#")) or url.startswith(("//", "/\\")):
                self.faults.append(f"<{tag} {name}={url}>")
            elif tag == "a" and url.startswith("/"):
                self.links.add(url.partition("#")[0])


async def send_hostile(rescind: Rescind) -> None:
    """Webhooks whose every part is hostile: of orders, of what is set aside, and of what is not even JSON."""
    for text in HOSTILE:
        headers = {"X-Note": text.replace("\r\n", " "), "User-Agent": text.replace("\r\n", " ")}
        body = webhook("order.processed", text, status=text, note=text, property={"location": {"street": text}})
        reply = await rescind.hook({**body, text: text, "request_id": f"r{text}"}, headers=headers)
        assert reply.status == (202 if text is BREAKS else 200), reply
        assert (
            await rescind.hook({"event": text, "order_id": text, "occurred_at": text}, headers=headers)
        ).status < 300
        assert (await rescind.hook(text.encode(), headers=headers)).status == 202
        query = f"?token={TOKEN}&{quote(text)}={quote(text)}"
        await rescind.ask("POST", f"/webhooks/{ENDPOINT}{query}", data=b"\xff" + text.encode(), key=None)
        path = f"/v1/accounts/{ACCOUNT}/orders/{quote(text, safe='')}"
        assert (await rescind.ask("POST", f"{path}/tags", {"add": [f"t{text}"[:60].replace("\r\n", " ")]})).status < 500
        fields = {"reason": "client_requested_cancelation", "note": text.replace("\r\n", " ")[:200]}
        assert (await rescind.ask("POST", f"{path}/cancellations", fields)).status in (202, 409, 422)
        await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": text.replace("\r\n", " ")[:100]})
        assert (await rescind.ask("POST", "/v1/keys", {"name": text.replace("\r\n", " ")[:100]})).status == 201


@pytest.mark.usefixtures("provider")
async def test_no_page_runs_or_follows_what_came_from_outside(rescind: Rescind) -> None:
    await send_hostile(rescind)
    browser, queue, seen = Browser(rescind.url), ["/"], set[str]()
    await browser.sign_in()
    lists = [page.path for page in PAGES if page.method == "GET" and "{" not in page.path]
    queue += lists
    queue += [f"{path}?q={quote(text)}&text={quote(text)}&account={quote(text)}" for path in lists for text in HOSTILE]
    queue += [f"/orders/{ACCOUNT}/{quote(text, safe='')}" for text in HOSTILE]
    shapes: dict[str, int] = {}
    while queue:
        path = queue.pop(0)
        shape = "/".join(part for part in path.partition("?")[0].split("/")[:2])
        if path in seen or shapes.get(shape, 0) >= 10 or path.startswith(("/static", "/docs", "/events/stream")):
            continue
        seen.add(path)
        shapes[shape] = shapes.get(shape, 0) + 1
        status, response, text = await browser.ask("GET", path)
        assert status < 500, path
        assert MARK not in response.cookies, path
        if response.headers.get("Location"):
            assert response.headers["Location"].startswith("/"), path
            assert not response.headers["Location"].startswith("//"), path
            queue.append(response.headers["Location"])
        if response.content_type != "text/html":
            # A body as it was received is text, whatever it says of itself.
            assert response.headers["X-Content-Type-Options"] == "nosniff", path
            assert response.content_type in ("text/plain", "application/octet-stream"), path
            continue
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy, path  # noqa: PT018
        assert response.headers["Cache-Control"] == "no-store", path
        parts = _Parts()
        parts.feed(text)
        assert parts.faults == [], path
        queue += sorted(parts.links - seen)
    kinds = {path.split("/")[1].partition("?")[0] for path in seen}
    assert {"orders", "events", "receipts", "quarantine", "cancellations", "keys", "search", "bulk"} <= kinds
    assert len(seen) > 60

"""`/docs` shows the API without another host: all that the page names is served here, and its policy allows no more."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
from servers import Rescind

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Links(HTMLParser):
    """The addresses that a page names, and whether it has scripts or styles of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [link for name in ("src", "href") if (link := given.get(name))]
        self.inline |= tag == "style" or (tag == "script" and "src" not in given)
        self.inline |= any(name.startswith("on") for name in given)


async def test_everything_that_the_page_names_is_served_here(shared: Rescind) -> None:
    reply = await shared.ask("GET", "/docs", key=None)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html")
    page = Links()
    page.feed(reply.raw.decode())
    links = [link for link in page.links if not link.startswith("data:")]
    assert not page.inline, "the policy would block it"
    assert {"docs/scalar.js", "docs/start.js", "openapi.json"} == set(links)
    for link in links:
        # Behind a prefix too: a proxy takes it off.
        assert urljoin("https://rescind.example.com/base/docs", link).startswith("https://rescind.example.com/base/")
        served = await shared.ask("GET", urljoin("/docs", link), key=None)
        assert served.status == 200, link
        assert len(served.raw) > 100, link


async def test_the_policy_of_the_page_allows_no_other_host(shared: Rescind) -> None:
    policy = (await shared.ask("GET", "/docs", key=None)).headers["Content-Security-Policy"]
    allowed = {
        name: set(values.split()) for name, _, values in (part.strip().partition(" ") for part in policy.split(";"))
    }
    assert allowed.pop("style-src") == {"'unsafe-inline'"}
    assert allowed["default-src"] == {"'none'"}
    assert allowed["script-src"] == {"'self'"}
    assert set.union(*allowed.values()) <= {"'self'", "'none'", "data:"}


async def test_the_page_starts_without_services_of_others(shared: Rescind) -> None:
    script = (await shared.ask("GET", "/docs/start.js", key=None)).raw.decode()
    assert "://" not in script
    # By default, Scalar loads fonts, counts its uses, and keeps the pasted key in the browser.
    for off in ("withDefaultFonts: false", "telemetry: false", "persistAuth: false", "agent: { disabled: true }"):
        assert off in script
    assert not re.search(r"\bproxyUrl\b", script)
    # As this release of Scalar names its function and its options.
    scalar = (await shared.ask("GET", "/docs/scalar.js", key=None)).raw.decode()
    for name in re.findall(r"^  (\w+):", script, re.MULTILINE):
        assert name in scalar, name
    assert "createApiReference" in scalar

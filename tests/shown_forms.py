"""The members that a browser sends for a form as a page shows it, before anybody types."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def members_of(page: str, action: str, nth: int = 0) -> dict[str, str]:
    """Those of the page's `nth` form with this action."""
    reader = _Reader()
    reader.feed(page)
    forms = [members for sent_to, members in reader.forms if sent_to == action]
    return forms[nth]


class _Reader(HTMLParser):
    """Reads all forms as browsers do: line breaks of inputs are dropped, and those of areas become CR LF."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._disabled: list[bool] = []
        self._area: tuple[str, str] | None = None
        self._select: tuple[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((given.get("action", ""), {}))
        elif tag == "fieldset":
            self._disabled.append("disabled" in given)
        elif tag == "textarea":
            self._area = given.get("name", ""), ""
        elif tag == "select":
            self._select = given.get("name", ""), None
        elif tag == "option" and self._select is not None:
            name, chosen = self._select
            if chosen is None or "selected" in given:
                self._select = name, given.get("value", "")
        elif tag == "input" and given.get("type") != "checkbox":
            self._add(given.get("name", ""), re.sub(r"[\r\n]", "", given.get("value", "")))

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area = self._area[0], self._area[1] + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "fieldset":
            self._disabled.pop()
        elif tag == "textarea" and self._area is not None:
            name, text = self._area
            # The first line break belongs to the tag.
            self._add(name, re.sub(r"\r\n?|\n", "\r\n", text.removeprefix("\n")))
            self._area = None
        elif tag == "select" and self._select is not None:
            self._add(self._select[0], self._select[1] or "")
            self._select = None

    def _add(self, name: str, value: str) -> None:
        if name and self.forms and not any(self._disabled):
            self.forms[-1][1][name] = value

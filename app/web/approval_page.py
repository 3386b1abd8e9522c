"""The page of an approval, as HTML: without scripts, for any screen and reader, in light and dark."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

from msgspec import Struct

from app.core.outbound.notices.notice import one_line

TEXT_CHARS_MAX = 2000
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #566072; --line: #d5dae2; --ground: #fff; --sheet: #f5f7fa;
  --go: #0b6b3a; --go-ink: #fff; --note: #7a4b00; --note-ground: #fff4de; --focus: #1456c8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #a9b2c1; --line: #3a4250; --ground: #14181f;
  --sheet: #1c222b; --go: #4cc38a; --go-ink: #06210f; --note: #f2c97d; --note-ground: #33270f; --focus: #8ab4ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; overflow-wrap: anywhere; }
.brand { margin: 0 0 1rem; color: var(--soft); font-size: .875rem; letter-spacing: .02em; }
h1 { margin: 0 0 .75rem; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
.lead { margin: 0 0 1rem; }
.status { margin: 1rem 0; padding: .75rem 1rem; border-left: 4px solid var(--note); background: var(--note-ground); }
h3 { margin: 1rem 0 .25rem; font-size: 1rem; }
dl { margin: 0; display: grid; grid-template-columns: minmax(8rem, 12rem) 1fr; border-top: 1px solid var(--line); }
dt, dd { margin: 0; padding: .4rem .5rem .4rem 0; border-bottom: 1px solid var(--line); }
dt { color: var(--soft); }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dt { border: 0; padding-bottom: 0; } }
ul { margin: 0; padding: 0; list-style: none; border-top: 1px solid var(--line); }
li { padding: .4rem 0; border-bottom: 1px solid var(--line); }
code { font: .9em/1.4 ui-monospace, monospace; }
small { display: block; color: var(--soft); }
form { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
button { flex: 1 1 10rem; min-height: 3rem; padding: .5rem 1rem; border: 2px solid var(--go); border-radius: .4rem;
  font: inherit; font-weight: 600; cursor: pointer; }
.approve { background: var(--go); color: var(--go-ink); }
.decline { background: transparent; color: var(--ink); border-color: var(--soft); }
button:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
"""
CSP = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


class Section(Struct, frozen=True):
    """A heading with rows of (name, value), and below a list of lines (text, small print) with its own heading."""

    title: str
    rows: Sequence[tuple[str, str]] = ()
    listed: str = ""
    """The heading of the lines."""
    lines: Sequence[tuple[str, str]] = ()


class ApprovalPage(Struct, frozen=True):
    """What the page says."""

    title: str
    lead: str
    status: str = ""
    """What was decided, or why nobody can decide here."""
    sections: Sequence[Section] = ()
    decides: bool = False
    """Whether there are buttons."""

    def html(self) -> str:
        """The page."""
        title = _text(self.title)
        status = f'<p class="status" role="status">{_text(self.status)}</p>' if self.status else ""
        body = [f"<h1>{title}</h1>", f'<p class="lead">{_text(self.lead)}</p>' if self.lead else "", status]
        body += [_FORM] if self.decides else []
        body += [_section(section) for section in self.sections if section.rows or section.lines]
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
            f"<title>{title} | Rescind</title><style>{_STYLE}</style></head>"
            f'<body><main><p class="brand">Rescind</p>{"".join(body)}</main></body></html>'
        )


# The URL has the token, without which no other site can send this form: it needs no further proof of where it is from.
_FORM = (
    '<form method="post">'
    '<button class="approve" name="decision" value="approve">Approve the cancel</button>'
    '<button class="decline" name="decision" value="decline">Decline</button></form>'
)


def _section(section: Section) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in section.rows if value)
    lines = "".join(
        f"<li>{_text(line)}{f'<small>{_text(small)}</small>' if small else ''}</li>" for line, small in section.lines
    )
    pairs = f"<dl>{rows}</dl>" if rows else ""
    listed = f"<h3>{_text(section.listed)}</h3><ul>{lines}</ul>" if lines else ""
    return f"<section><h2>{_text(section.title)}</h2>{pairs}{listed}</section>"


def _text(text: str) -> str:
    return escape(one_line(text, TEXT_CHARS_MAX))

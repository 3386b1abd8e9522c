"""Pictures as SVG files: they load nothing, and are shown by the site and by code hosts alike."""

from __future__ import annotations

from collections.abc import Iterable

_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
text.place { font: 11.5px ui-monospace, monospace; fill: #59636e; text-anchor: start }
text.says { font-size: 12.5px; text-anchor: start }
rect { fill: #f6f8fa; stroke: #59636e }
rect.page { fill: #fff; stroke: none }
rect.final { stroke-dasharray: 4 3 }
rect.transaction { fill: #e8edff; stroke: none }
.start, marker path { fill: #59636e }
.arrow { fill: none; stroke: #59636e; stroke-width: 1.4; marker-end: url(#tip) }
.from-scheduled { stroke: #3f7fbf }
.from-sending { stroke: #c2710c }
.from-indeterminate { stroke: #a04fa8 }
.from-accepted { stroke: #2f8f5b }
"""

_TIP = """<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z"/></marker>"""


def picture(title: str, width: int, height: int, lines: Iterable[str]) -> str:
    """A picture of these elements, on a light page: readable on dark pages too."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            f"<defs>{_TIP}</defs>",
            f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
            *lines,
            "</svg>\n",
        ]
    )

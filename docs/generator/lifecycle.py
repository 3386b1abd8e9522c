"""The life of a cancellation, drawn from its table of transitions."""

from __future__ import annotations

from app.core.cancellation import FINAL, TRANSITIONS, State, Waiting
from generator.markdown import table
from generator.svg import picture

_BOX, _HALF = (132, 34), 17
_LIVE = (State.SCHEDULED, State.SENDING, State.INDETERMINATE, State.ACCEPTED)
_ENDED = (State.REJECTED, State.REVOKED, State.EXPIRED, State.FAILED, State.REFUSED, State.SUCCEEDED)
_LIVE_X, _ENDED_X, _WIDTH, _HEIGHT = 120, 440, 580, 450
_PLACES = {
    **{state: (_LIVE_X, 80 + 110 * row) for row, state in enumerate(_LIVE)},
    **{state: (_ENDED_X, 50 + 74 * row) for row, state in enumerate(_ENDED)},
}


def arrows() -> dict[tuple[State | None, State], list[str]]:
    """What leads from one state to another: (from, to) → causes. `None` stands for "no cancellation yet"."""
    found: dict[tuple[State | None, State], list[str]] = {}
    for (state, cause), to in TRANSITIONS.items():
        if state != to:
            found.setdefault((state, to), []).append(cause.replace("_", " "))
    return found


def diagram() -> str:
    """The states and the arrows between them, as SVG."""
    lines = [f'<circle class="start" cx="20" cy="{_PLACES[State.SCHEDULED][1]}" r="7"/>']
    for (start, end), causes in arrows().items():
        name = start or "start"
        said = f"<title>{name} → {end}: {', '.join(causes)}</title>"
        lines.append(f'<path class="arrow from-{name}" d="{_path(start, end)}">{said}</path>')
    for state, (x, y) in _PLACES.items():
        kind = "final" if state in FINAL else f"live is-{state}"
        lines.append(f'<rect class="{kind}" x="{x}" y="{y - _HALF}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6"/>')
        lines.append(f'<text x="{x + _BOX[0] / 2:g}" y="{y + 5}">{state}</text>')
    return picture("The states of a cancellation", _WIDTH, _HEIGHT, lines)


def _path(start: State | None, end: State) -> str:
    end_x, end_y = _PLACES[end]
    if start is None:
        top = _PLACES[State.SCHEDULED][1]
        if end is State.SCHEDULED:
            return f"M28 {top}H{end_x - 2}"
        return f"M24 {top - 6}C60 12 260 12 {end_x - 2} {end_y - 6}"
    start_x, start_y = _PLACES[start]
    if end in FINAL:
        # Arrows of one state leave, and those into one state arrive, a little apart.
        start_y += 4 * (_ENDED.index(end) - 2)
        end_y += 6 * (_LIVE.index(start) - 1)
        return f"M{start_x + _BOX[0]} {start_y}C{start_x + 240} {start_y} {end_x - 110} {end_y} {end_x - 2} {end_y}"
    return _beside(start, end)


def _beside(start: State, end: State) -> str:
    """An arrow between two states of the left column: downwards on its left half, upwards on its right half."""
    (x, start_y), (_, end_y) = _PLACES[start], _PLACES[end]
    down = end_y > start_y
    if abs(_LIVE.index(start) - _LIVE.index(end)) == 1:
        at = x + (44 if down else 88)
        return f"M{at} {start_y + (_HALF if down else -_HALF)}V{end_y + (-_HALF - 2 if down else _HALF + 2)}"
    bow = x - (60 if down else 95)
    shift = -6 if down else 6
    return f"M{x} {start_y + shift}C{bow} {start_y + shift} {bow} {end_y + shift} {x - 2} {end_y + shift}"


def transitions() -> str:
    """The table of transitions, one row for each pair of states."""
    rows = [
        (f"`{start}`" if start else "(new)", f"`{end}`", ", ".join(causes)) for (start, end), causes in arrows().items()
    ]
    return table(("from", "to", "by"), rows)


def waits() -> str:
    """What a cancellation that is not final waits for."""
    return ", ".join(f"`{reason}`" for reason in Waiting if reason is not Waiting.NOTHING)

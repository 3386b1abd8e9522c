"""Plots of what was measured, as SVG and PNG: `python -m tests.bench.plots FILE.json FOLDER` draws them again.

Matplotlib is installed by `make bench-tools`, beside the environment and not in it.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.flame import TOOLS

OURS, THEIRS = "#3f51b5", "#b0bec5"
DPI = 110
SALT = "rescind"
"""Ids in an SVG are the same in each run."""
PANEL = 3.2, 0.34
"""Inches: the width of a panel, the height of a bar."""
PEERS = (
    ("webhooks/s", "rate", "{:,.0f}", "more is better"),
    ("µs of processor time a webhook", "cpu", "{:,.0f}", "less is better"),
    ("p99, ms", "p99", "{:,.0f}", "less is better"),
    ("bytes on disk a webhook", "bytes", "{:,.0f}", "less is better"),
)
GROWTH = (
    ("webhooks/s ÷ empty", (("ingest", ""),)),
    ("verdict beside webhooks, ms", (("verdict_p50", "p50"), ("verdict_p99", "p99"))),
    ("lists, p99 ms", (("orders", "orders"), ("events", "events"), ("receipts", "receipts"))),
    ("start until ready, s", (("ready_s", "until ready"), ("ready_cpu_s", "processor time"))),
    ("memory, MB", (("rest_mb", "at rest"), ("loaded_mb", "after webhooks"), ("backtest_mb", "backtest"))),
    ("backtest, µs an event", (("backtest_us", ""),)),
)


def require() -> None:
    """Have Matplotlib at hand; exits where it is not installed."""
    if importlib.util.find_spec("matplotlib") is None and TOOLS.is_dir():
        sys.path.append(str(TOOLS.resolve()))  # last: what the environment has is used from there
    if importlib.util.find_spec("matplotlib") is None:
        sys.exit("matplotlib is not installed. Run: make bench-tools")


def peers(result: dict[str, Any], folder: Path) -> None:
    """Draw `peers.svg` and `peers.png`: a bar for each server, a panel for each figure."""
    names = list(result["peers"])
    figure, axes = _panels(1, len(PEERS), len(names) * PANEL[1] + 1.5)
    for (title, field, form, better), axis in zip(PEERS, axes, strict=True):
        values = [_middle(result["peers"][name], field) for name in names]
        bars = axis.barh(names, values, color=[OURS if name == "Rescind" else THEIRS for name in names])
        axis.bar_label(bars, [form.format(value) if value else "nothing" for value in values], padding=3, fontsize=8)
        axis.set_title(f"{title}\n({better})", fontsize=9)
        axis.invert_yaxis()
        axis.set_xlim(0, max(values) * 1.3 or 1)
        axis.set_xticks([])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(labelsize=9, length=0, labelleft=axis is axes[0])
    _save(figure, result, folder / "peers")


def growth(result: dict[str, Any], folder: Path) -> None:
    """Draw `growth.svg` and `growth.png`: a panel for each cost, over the number of events."""
    events = list(result["events"])
    figure, axes = _panels(2, 3, 5.2)
    for (title, curves), axis in zip(GROWTH, axes, strict=True):
        for field, label in curves:
            values = [_figure(result["events"][number], field) for number in events]
            axis.plot(range(len(events)), values, marker="o", markersize=4, label=label or None)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(events)), [_short(int(number)) for number in events], fontsize=8)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.05)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            axis.legend(fontsize=7, frameon=False)
    _save(figure, result, folder / "growth")


def _panels(rows: int, columns: int, height: float) -> tuple[Any, Sequence[Any]]:
    require()
    import matplotlib as mpl  # noqa: PLC0415 - installed for this alone

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"], mpl.rcParams["svg.fonttype"] = SALT, "none"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure, axes = plt.subplots(rows, columns, figsize=(PANEL[0] * columns, height), layout="constrained")
    return figure, list(axes.flat)


def _save(figure: Any, result: dict[str, Any], target: Path) -> None:
    """Write both files, with a line on the machine below."""
    text = "\n".join(textwrap.wrap(result["measured"].replace("`", ""), 150))
    figure.supxlabel(text, fontsize=7, color="#607d8b")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target.with_suffix(".svg"), metadata={"Date": None}, facecolor="white")
    figure.savefig(target.with_suffix(".png"), dpi=DPI, facecolor="white")
    # Matplotlib ends lines with spaces, which no other file here has.
    svg = target.with_suffix(".svg")
    svg.write_text("\n".join(line.rstrip() for line in svg.read_text().splitlines()) + "\n")


def _middle(peer: dict[str, Any], field: str) -> float:
    if field == "bytes":
        return float(peer["bytes"] or 0)
    return statistics.median(each[field] for each in peer["rounds"])


def _figure(figures: dict[str, Any], field: str) -> float:
    value = figures["lists"][field]["p99"] if field in figures["lists"] else figures.get(field)
    return float("nan") if value is None else float(value)


def _short(number: int) -> str:
    return f"{number // 1_000_000} M" if number >= 1_000_000 else f"{number:,}" if number else "empty"


def main() -> None:
    """Draw the plots of a file of figures."""
    result = json.loads(Path(sys.argv[1]).read_text())
    draw = peers if "peers" in result else growth
    draw(result, Path(sys.argv[2]))


if __name__ == "__main__":
    main()

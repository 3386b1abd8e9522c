"""Write the generated parts of README.md: what is between `<!-- begin NAME -->` and `<!-- end NAME -->`.

`python docs/generate.py` writes; `--check` only says whether the file is up to date (exit code 1 if not).
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

from pydantic.fields import FieldInfo

from app.config.registry import handlers
from app.config.settings import ClientSettings, Settings, written_default
from app.contract import Limits
from app.core.cancellation import FINAL, TRANSITIONS, Waiting
from app.web.problems import Kind
from app.web.server import ROUTES

README = Path(__file__).resolve().parent.parent / "README.md"


def lifecycle() -> str:
    """The diagram of a cancellation's life, drawn from its table of transitions."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, cause), to in TRANSITIONS.items():
        if state != to:
            arrows.setdefault((state or "[*]", to), []).append(cause.replace("_", " "))
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {start} --> {end}: {', '.join(causes)}" for (start, end), causes in arrows.items()]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL)]
    lines.append("```")
    waits = ", ".join(f"`{each}`" for each in Waiting if each is not Waiting.NOTHING)
    return "\n".join([*lines, "", f"A cancellation that is not final names what it waits for: {waits}."])


def settings() -> str:
    """The table of settings."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for model in (Settings, ClientSettings):
        for name, field in model.model_fields.items():
            shown = f"`{written}`" if (written := written_default(field.default)) else ""
            rows.append(f"| `RESCIND_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def calls() -> str:
    """The table of the API's calls."""
    rows = ["| call | does | scope |", "|---|---|---|"]
    rows.append("| `POST /webhooks/{endpoint}` | Take in a provider's webhook. | the endpoint's own proof |")
    rows += [f"| `{each.method} {each.path}` | {each.summary} | {each.scope.name.lower()} |" for each in ROUTES]
    return "\n".join(rows)


def problems() -> str:
    """The closed list of problems."""
    rows = ["| `urn:rescind:problem:…` | status | |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{kind.slug}` | {kind.status} | {kind.title} |" for kind in Kind)])


def providers() -> str:
    """The table of providers: what is supported."""
    rows = [
        "| provider | `provider:` | limit | cancels a call | can be asked | registers webhooks | window closes by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in handlers().items():
        closing = [word for word, phase in each.words.items() if phase in ("in_progress", "completed", "canceled")]
        events = ", ".join(f"`{word}`" for word in closing if "." in word or "/" in word)
        asked = (
            f"yes, {each.probe_batch_max} in one call" if each.probe_batch_max > 1 else "yes" if each.probe else "no"
        )
        registers = "yes" if each.register else "no"
        closes = events or ("its rules" if not each.words else "status")
        cells = (_link(name), f"`{name}`", _limit(each.limits), each.cancel_batch_max, asked, registers, closes)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def provenance() -> str:
    """The table of what each handler rests on: documents, guesses that are configuration, and fixtures."""
    rows = ["| provider | documented in | configurable, because no document says it | fixtures |", "|---|---|---|---|"]
    for name, each in handlers().items():
        documents = ", ".join(f"[{number}]({url})" for number, url in enumerate(each.docs, 1))
        models = (each.config, each.rules)
        guessed = [field for model in models for field, info in model.model_fields.items() if _is_undocumented(info)]
        fields = ", ".join(f"`{field}`" for field in guessed) or "nothing"
        rows.append(f"| {_link(name)} | {documents} | {fields} | {_fixtures(name)} |")
    return "\n".join(rows)


def _link(name: str) -> str:
    return f"[{handlers()[name].title}](handlers/{name}/README.md)"


def _limit(limits: Limits) -> str:
    if limits.burst is not None:
        return f"{limits.burst} at once, {limits.rate_per_s:g} a second"
    return f"{limits.requests} in {limits.per_s:g} s"


def _is_undocumented(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and bool(info.json_schema_extra.get("undocumented"))


def _fixtures(name: str) -> str:
    """How many webhooks and answers are recorded, documented or made up."""
    folder = README.parent / "handlers" / name / "fixtures"
    given = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("[!_]*.json"))]
    given += json.loads((folder / "_answers.json").read_text(encoding="utf-8"))
    counted = Counter(each["provenance"] for each in given)
    return ", ".join(f"{counted[kind]} {kind}" for kind in ("recorded", "documented", "synthetic") if counted[kind])


PARTS = {
    "lifecycle": lifecycle,
    "settings": settings,
    "calls": calls,
    "problems": problems,
    "providers": providers,
    "provenance": provenance,
}


def generated(text: str) -> str:
    """`text` with its generated parts as they should be. Raises ValueError if one has no place."""
    for name, make in PARTS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place for {name}: <!-- begin {name} --> … <!-- end {name} -->")
        made = make()
        text = pattern.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)
    return text


def main() -> int:
    """Write or check."""
    before = README.read_text(encoding="utf-8")
    after = generated(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

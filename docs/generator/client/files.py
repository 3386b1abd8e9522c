"""The client's generated files, formatted as the house's code is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.web import openapi
from app.web.problems import Kind
from app.web.server import ROUTES
from generator.client.methods import Method, methods_of, models_of, written
from generator.client.models import assigned, module_text, used_by
from generator.client.types import Schema

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "rescind_client"
_NOT_METHODS = ("receiveWebhook", "challengeWebhook", "greetWebhook")
_Operations = list[tuple[str, str, Schema]]


def files() -> dict[str, str]:
    """Path → text of every generated file."""
    document = openapi.document(ROUTES, "")
    components: dict[str, Schema] = document["components"]["schemas"]
    tags = by_tag(document)
    used = {
        tag: [name for _, _, operation in operations for name in used_by(operation, components)]
        for tag, operations in tags.items()
    }
    placed = assigned(components, used)
    homes = {name: module for module, names in placed.items() for name in names}
    texts = {"problems": _problems()}
    for module, names in placed.items():
        if names:
            title = f"Classes of {module}"
            texts[f"models/{module}"] = module_text(title, names, components, homes, module)
    texts["models/__init__"] = _models(placed)
    for kind in ("sync", "async"):
        for tag, operations in tags.items():
            methods = methods_of(tag, operations, components)
            texts[f"{kind}_api/{tag}"] = _api(tag, methods, homes, is_async=kind == "async")
        texts[f"{kind}_api/__init__"] = _resources(list(tags), is_async=kind == "async")
    return _formatted({f"{PACKAGE}/{name}.py": text for name, text in texts.items()})


def by_tag(document: Mapping[str, Any]) -> dict[str, _Operations]:
    """Module → its operations, of which each is (verb, path, operation)."""
    tags: dict[str, _Operations] = {}
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            if operation["operationId"] not in _NOT_METHODS:
                tag = operation["tags"][0].lower().replace(" ", "_")
                tags.setdefault(tag, []).append((verb.upper(), path, operation))
    return tags


def _title(tag: str) -> str:
    return "".join(part.capitalize() for part in tag.split("_"))


def _problems() -> str:
    classes = [
        f"class {''.join(part.capitalize() for part in kind.slug.split('-'))}(Problem):\n"
        f'    """{kind.title} ({kind.status})."""\n\n    slug = "{kind.slug}"\n'
        for kind in Kind
    ]
    head = '"""A class for each type of problem, by which a caller catches it."""\n\n'
    return f"{head}from rescind_client.problem import Problem\n\n\n" + "\n\n".join(classes)


def _models(placed: Mapping[str, Sequence[str]]) -> str:
    lines = ['"""The classes of requests and responses."""', ""]
    lines += [f"from rescind_client.models.{home} import {', '.join(names)}" for home, names in placed.items() if names]
    lines.append("from rescind_client.pages import Page, SearchPage")
    names = sorted(["Page", "SearchPage", *(name for names in placed.values() for name in names)])
    return "\n".join([*lines, "", f"__all__ = {names!r}", ""])


def _api(tag: str, methods: Sequence[Method], homes: Mapping[str, str], *, is_async: bool) -> str:
    names = sorted({name for method in methods for name in models_of(method)} & homes.keys())
    prefix, transport = ("Async", "AsyncTransport") if is_async else ("", "SyncTransport")
    lines = [
        f'"""The operations of {tag}."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import AsyncIterator, Iterator, Mapping, Sequence",
        "from datetime import datetime",
        "from typing import Any, Literal",
        "",
        *[f"from rescind_client.models.{homes[name]} import {name}" for name in names],
        "from rescind_client.pages import Page, SearchPage",
        f"from rescind_client.stream import {prefix}EventStream",
        f"from rescind_client.transport import {transport}, Request, given, once, segment",
        "",
        "",
        f"class {prefix}{_title(tag)}:",
        f'    """The operations of {tag}."""',
        "",
        f"    def __init__(self, transport: {transport}) -> None:",
        "        self._transport = transport",
        "",
        *[line for method in methods for line in written(method, is_async=is_async)],
    ]
    return "\n".join(lines) + "\n"


def _resources(tags: Sequence[str], *, is_async: bool) -> str:
    prefix, package = ("Async", "async_api") if is_async else ("", "sync_api")
    lines = [f'"""The operations by resource, {"for asyncio" if is_async else "waiting for each response"}."""', ""]
    lines += [f"from rescind_client.{package}.{tag} import {prefix}{_title(tag)}" for tag in tags]
    lines += [f"from rescind_client.transport import {prefix or 'Sync'}Transport", "", ""]
    lines += [f"class {prefix}Resources:", '    """All operations."""', ""]
    lines.append(f"    def __init__(self, transport: {prefix or 'Sync'}Transport) -> None:")
    lines += [f"        self.{tag} = {prefix}{_title(tag)}(transport)" for tag in tags]
    return "\n".join([*lines, ""])


def _formatted(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts without unused imports, formatted by ruff as `make lint` requires."""
    with TemporaryDirectory() as directory:
        for path, text in texts.items():
            file = Path(directory, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for arguments in _RUFF:
            subprocess.run(  # noqa: S603 - ruff, with these arguments
                [
                    sys.executable,
                    "-m",
                    "ruff",
                    *arguments,
                    "--quiet",
                    "--no-cache",
                    "--config",
                    ROOT / "pyproject.toml",
                    ".",
                ],
                cwd=directory,
                check=True,
            )
        return {path: Path(directory, path).read_text(encoding="utf-8") for path in texts}


_RUFF = (("check", "--fix", "--select", "F401,I001,RUF022"), ("format",))


def stale() -> Iterator[str]:
    """Generated files of the client that nothing generates any more."""
    current = files()
    for folder in ("models", "sync_api", "async_api"):
        for file in sorted((ROOT / PACKAGE / folder).glob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            if path not in current:
                yield path

"""Code blocks parse, the `rescind` commands in the documentation exist, and resource files in it are valid."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pages import NAMES, Block, blocks, prose

from app.cli.main import app
from app.config.models import AccountSpec, EndpointSpec, PolicySpec
from app.config.registry import handlers
from app.web.problems import Kind

LANGUAGES = {"sh", "yaml", "json", "python", "text", "toml", "http", "js", "go"}
ROOT_COMMAND: Any = typer.main.get_command(app)
UsageError: Any = typer.BadParameter.__base__
BASH = shutil.which("bash") or "/bin/bash"
PROBLEMS = {(f"urn:rescind:problem:{kind.slug}", kind.status, kind.title) for kind in Kind}
ENDS = {"&&", "||", ";", "|", "&", ")"}
SPAN = re.compile(r"(?<!`)`(rescind [^`]+)`")


def test_every_block_says_what_it_is() -> None:
    assert [str(block) for block in blocks() if block.language not in LANGUAGES] == []


@pytest.mark.parametrize("block", list(blocks("sh")), ids=str)
def test_shell_parses(block: Block) -> None:
    checked = subprocess.run([BASH, "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_json_and_python_parse() -> None:
    for block in blocks("json"):
        content = json.loads(block.text)
        if "title" in content:
            assert (content["type"], content["status"], content["title"]) in PROBLEMS, str(block)
    for block in blocks("python"):
        compile(block.text, str(block), "exec")


@cache
def private_key() -> str:
    """A key as it stands in an environment variable: line ends are written as `\\n`."""
    made = generate_private_key(65537, 2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode().replace("\n", r"\\n")


@pytest.mark.parametrize("block", list(blocks("yaml")), ids=str)
def test_yaml_is_valid(block: Block) -> None:
    content = yaml.safe_load(block.text.replace("${SUPERLOOP_PRIVATE_KEY}", private_key()))
    assert content is not None
    if not isinstance(content, dict):
        return
    for given in content.get("accounts", ()):
        account = AccountSpec.model_validate(given)
        handler = handlers()[account.provider]
        handler.config.model_validate(account.config)
        handler.rules.model_validate(account.rules)
    for given in content.get("endpoints", ()):
        EndpointSpec.model_validate(given)
    for given in content.get("policies", ()):
        PolicySpec.model_validate(given).policy()


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `rescind` command in a shell script."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.commenters, lexer.whitespace_split = "#", True
        words = list(lexer)
        for start, word in enumerate(words):
            if word == "rescind" and (start == 0 or words[start - 1] in ENDS):
                end = next((place for place in range(start, len(words)) if words[place] in ENDS), len(words))
                yield words[start + 1 : end]


def parsed(words: list[str]) -> tuple[Any, dict[str, Any]]:
    """The command and what it is given. Raises `UsageError` for a command or an option that there is not."""
    command, rest = ROOT_COMMAND, list(words)
    while rest and rest[0] in getattr(command, "commands", ()):
        command = command.commands[rest.pop(0)]
    given, left, _ = command.make_parser(command.context_class(command)).parse_args(rest)
    if left:
        raise UsageError(f"{' '.join(left)!r} is left over in {' '.join(words)!r}")
    return command, given


@pytest.mark.parametrize("block", list(blocks("sh")), ids=str)
def test_commands_exist_and_take_what_they_are_given(block: Block) -> None:
    for words in commands(block.text):
        command, given = parsed(words)
        missing = [
            parameter.name for parameter in command.params if parameter.required and not given.get(parameter.name)
        ]
        assert not missing, f"rescind {' '.join(words)} lacks {missing}"


def test_commands_in_sentences_exist() -> None:
    for name in NAMES:
        for found in SPAN.finditer(prose(name)):
            for words in commands(found[1].replace("…", "").replace("...", "")):
                parsed(words)


def test_a_wrong_command_is_noticed() -> None:
    for wrong in ("rescind policy list", "rescind cancel acme-photos 4711 --resaon x", "rescind pause all"):
        with pytest.raises(UsageError):
            parsed(next(commands(wrong)))

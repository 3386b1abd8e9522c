"""The page about the command line describes every command and option."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer
from generator.cli import document

from app.cli import cancellations, options, orders, receipts, sandbox
from app.cli.main import app
from app.contract import Cancelable, Phase, Source
from app.core.cancellation import State
from app.dev.sandbox import DEFAULT_HOST, DEFAULT_PORT, RESEND_S
from app.web.fields import SourceName


def commands(command: Any, path: str = "rescind") -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, subcommand in (inner or {}).items():
        yield from commands(subcommand, f"{path} {name}")


PAGE = document()
COMMANDS = dict(commands(typer.main.get_command(app)))


def section(path: str) -> str:
    return PAGE.partition(f"### `{path}`\n")[2].partition("\n### ")[0]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_is_documented_in_one_sentence(path: str):
    command, text = COMMANDS[path], section(path)
    for sentence in (command.help, *(parameter.help for parameter in command.params)):
        assert sentence, path
        assert "\n" not in sentence
        assert sentence in text.replace("\\|", "|")
    for parameter in command.params:
        for name in parameter.opts if parameter.param_type_name != "argument" else [parameter.metavar]:
            assert f"`{name}" in text or f", {name}" in text


def test_whatever_answers_can_answer_in_json():
    silent = {"serve", "sandbox", "demo", "delete", "handlers test", "keys revoke", "keys sign-out", "completion"}
    for path, command in COMMANDS.items():
        takes_json = any("--json" in parameter.opts for parameter in command.params)
        assert takes_json is not any(path.endswith(f" {name}") for name in silent), path


def test_choices_are_those_of_the_api():
    """They are written down again in the commands, which must start without loading the application."""
    assert [*get_args(orders.PhaseChoice)] == [*Phase]
    assert [*get_args(orders.CancelableChoice)] == [*Cancelable]
    assert [*get_args(cancellations.StateChoice)] == [*State]
    assert get_args(get_args(get_args(options.OfSource)[0])[0]) == get_args(SourceName)
    assert [*get_args(SourceName)] == [*Source]
    assert "quarantined" in [*receipts.ReceiptStatus]
    assert (sandbox.HOST, sandbox.PORT, sandbox.RESEND_S) == (DEFAULT_HOST, DEFAULT_PORT, RESEND_S)


def test_help_loads_nothing_heavy():
    """What it loads is what it takes: `rescind --help` should answer at once."""
    script = """
import sys
from app.cli.main import main
sys.argv = ["rescind", "--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Usage" in ran.stdout
    assert not {"aiohttp", "pydantic", "sqlite3", "yaml", "cryptography", "app.node"} & set(ran.stderr.split())

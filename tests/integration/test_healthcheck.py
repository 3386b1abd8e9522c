"""`rescind healthcheck` against servers that answer, are not ready, hang, trickle, redirect, or are not there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from budgets import AMPLE_S
from processes import Process, lasting_port
from servers import Rescind
from yarl import URL

from app.cli import healthcheck
from app.cli.main import app
from app.config.settings import DEFAULT_PORT, Settings
from app.web.readiness import WAIT_S

ANY = "0.0.0.0"  # noqa: S104 - what a container listens on
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def check(port: int, *args: str, **env: str) -> tuple[int, str]:
    """Exit code, and the one line that it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
    process = Process(["healthcheck", *args], env={**kept, "RESCIND_PORT": str(port), **env}, cwd=Path(__file__).parent)
    out, err = await asyncio.to_thread(process.communicate)
    assert len((out + err).splitlines()) == 1, out + err
    return process.wait(), (out + err).strip()


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[int]:
    """The port of a server that treats each connection so; there must be one."""
    came = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await answer(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        async with asyncio.timeout(AMPLE_S):
            await came.wait()  # or else a server that closes leaves open what it has just accepted


async def test_a_server_that_answers_is_healthy_whatever_address_it_listens_on(tmp_path: Path) -> None:
    port = lasting_port()  # that nobody else has after the end of the server
    rescind = await Rescind.start(tmp_path, host=ANY, port=port)
    for host in ("127.0.0.1", ANY, "", "localhost"):
        assert (await check(port, RESCIND_HOST=host))[0] == 0, host
    code, said = await check(port, "--ready", RESCIND_HOST=ANY, http_proxy="http://127.0.0.1:1")
    assert (code, said) == (0, f"ok: http://127.0.0.1:{port}/readyz"), "a proxy of the environment is not asked"
    await rescind.stop()
    code, said = await check(port)
    assert (code, said) == (
        1,
        f"error: http://127.0.0.1:{port}/healthz: nothing listens there; the server is starting, or has ended.",
    )


@pytest.mark.sqlite_only("its file is removed")
async def test_a_server_whose_database_is_gone_is_healthy_and_not_ready(tmp_path: Path) -> None:
    rescind = await Rescind.start(tmp_path)
    port = URL(rescind.url).port or 0
    (tmp_path / "rescind.db").unlink()
    assert (await check(port))[0] == 0
    code, said = await check(port, "--ready")
    assert code == 1
    assert said.startswith(f"error: http://127.0.0.1:{port}/readyz: 503, ")
    assert "rescind.db" in said
    await rescind.stop()


async def test_what_answers_wrongly_or_not_in_time_is_unhealthy() -> None:
    def saying(raw: bytes) -> Answer:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            writer.close()

        return answer

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Never silent for as long as the limit."""
        try:
            while not writer.is_closing():
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def head(status: str, length: int, more: str = "") -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode()

    colored = b'{"status": "a\\u001b[31m"}'
    problem = b'{"status": 503, "detail": "All connections are taken."}'
    cases: list[tuple[Answer, str]] = [
        (saying(head("302 Found", 0, "Location: http://127.0.0.1:1/healthz\r\n")), "is not Rescind (it responded with"),
        (saying(head("200 OK", 2) + b"ok"), "is not Rescind (it responded with 200)"),
        (saying(head("503 Busy", len(problem)) + problem), ": 503, All connections are taken."),
        (saying(head("503 Busy", len(colored)) + colored), ": 503, a"),
        (saying(b"SSH-2.0-OpenSSH\r\n"), "there was no response (SSH"),
        (saying(b""), "there was no response ("),
        (hang, "there was no response within 2 s"),
        (trickle, "there was no response within 2 s"),
    ]
    for answer, said in cases:
        async with listening(answer) as port:
            code, line = await check(port, *(["--timeout", "2"] if answer in (hang, trickle) else []))
            assert (code, said in line, "\x1b" in line) == (1, True, False), line


async def test_a_port_that_only_the_server_knows_is_a_fault() -> None:
    for port in ("0", "65536", "http", "²"):
        code, said = await check(0, RESCIND_PORT=port)
        assert (code, "RESCIND_PORT is" in said) == (1, True)


async def test_a_host_that_is_none_is_a_fault() -> None:
    for host in ("two words", "a\r\nHost: b"):
        code, said = await check(1, RESCIND_HOST=host)
        assert (code, "RESCIND_HOST is no address" in said) == (1, True)


async def test_json_says_the_same() -> None:
    process = Process(
        ["healthcheck", "--json"],
        env={**os.environ, "RESCIND_HOST": "::", "RESCIND_PORT": "1"},
        cwd=Path(__file__).parent,
    )
    out, _ = await asyncio.to_thread(process.communicate)
    said: dict[str, Any] = json.loads(out)
    assert (process.wait(), said["healthy"], said["url"]) == (1, False, "http://[::1]:1/healthz")


def test_defaults_are_those_of_the_server() -> None:
    """They are written down again, because the settings take long to load."""
    fields = Settings.model_fields
    assert (fields["host"].default, fields["port"].default) == (healthcheck.DEFAULT_HOST, healthcheck.DEFAULT_PORT)
    assert fields["port"].default == DEFAULT_PORT
    assert healthcheck.TIMEOUT_S > WAIT_S


def test_it_loads_nothing_that_the_server_or_other_commands_load(tmp_path: Path) -> None:
    """It is run every few seconds: what it loads is what it costs."""
    script = """
import sys
from app.cli.start import main
sys.argv = ["rescind", "healthcheck", "--ready", "--timeout", "5"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    (tmp_path / ".env").write_text("RESCIND_PORT=1\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert ran.returncode == 1
    assert "http://127.0.0.1:1/readyz: nothing listens there" in ran.stderr, ".env is read"
    loaded = set(ran.stderr.split())
    assert "app.cli.healthcheck" in loaded
    assert not {"asyncio", "rich", "typer", "pydantic", "msgspec", "sqlite3", "yaml", "aiohttp"} & loaded


def test_options_are_those_of_the_command() -> None:
    """The short way to it reads them by itself, and leaves everything else to the command."""
    assert healthcheck.read_arguments([]) == (False, healthcheck.TIMEOUT_S, False)
    assert healthcheck.read_arguments(["--json", "--timeout", "2", "--ready"]) == (True, 2, True)
    for wrong in (["--timeout"], ["--timeout", "soon"], ["--timeout", "0"], ["--timeout", "nan"], ["x"], ["--help"]):
        assert healthcheck.read_arguments(wrong) is None, wrong
    command: Any = typer.main.get_command(app)
    parameters = {parameter.opts[0] for parameter in command.commands["healthcheck"].params}
    assert parameters == {"--ready", "--timeout", "--json"}

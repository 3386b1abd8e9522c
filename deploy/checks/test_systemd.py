"""The units of `deploy/systemd`: systemd accepts them, they are hardened, and what they name exists."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import lasting_port
from programs import DEPLOY, run
from typer.main import get_command

from app.cli.main import app
from app.config.settings import ClientSettings, Settings
from app.serve import STOP_S
from app.workers.deliveries.fairness import SOCKETS_MAX

UNITS = DEPLOY / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
EXPOSURE_MAX = 20
"""2.0, as `systemd-analyze` takes it."""
HARDENING = "# What it may do"


def lines(file: Path) -> list[str]:
    """The directives of a unit."""
    return [line for line in file.read_text().splitlines() if line and not line.startswith(("#", "["))]


def value(name: str, key: str) -> str:
    """The one value of a directive."""
    (line,) = (line for line in lines(UNITS / name) if line.startswith(f"{key}="))
    return line.partition("=")[2]


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A tree with the units where they are installed, and the programs that they start."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for file in UNITS.iterdir():
        if file.suffix in (".service", ".socket", ".timer"):
            shutil.copy(file, units)
    program = tmp_path / "opt/rescind/bin/rescind"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    # What the units refer to is systemd's own.
    own = tmp_path / "usr/lib/systemd"
    own.mkdir(parents=True)
    shutil.copytree("/usr/lib/systemd/system", own / "system", symlinks=True)
    for target in ("bin/true", "usr/bin/true"):
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/usr/bin/true", tmp_path / target)
    return tmp_path


def test_systemd_accepts_every_unit(staged: Path) -> None:
    units = [file.name for file in sorted((staged / "etc/systemd/system").iterdir())]
    assert {"rescind.service", "rescind.socket", "rescind-backup.timer", "rescind-prune.timer"} <= {*units}
    said = run("systemd-analyze", "verify", "--man=no", f"--root={staged}", *units)
    # What it does not know it ignores, and only says so.
    assert not [line for line in said.splitlines() if "rescind" in line], said


def test_no_unit_is_exposed_more_than_need_be(staged: Path) -> None:
    for file in SERVICES:
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager"]
        run(*command, f"--root={staged}", file.name)


def test_all_units_are_hardened_alike() -> None:
    blocks = {file.name: file.read_text().partition(HARDENING)[2].partition("\n\n")[0].strip() for file in SERVICES}
    assert len(blocks) == 3
    assert blocks["rescind.service"].count("=") > 20
    assert len({*blocks.values()}) == 1, blocks


def test_timers_name_times() -> None:
    for timer in UNITS.glob("*.timer"):
        assert "Next elapse" in run("systemd-analyze", "calendar", value(timer.name, "OnCalendar"))
        assert (UNITS / f"{timer.stem}.service").exists()


def test_the_server_has_time_to_end_and_files_to_open() -> None:
    assert float(value("rescind.service", "TimeoutStopSec")) > STOP_S
    assert (
        int(value("rescind.service", "LimitNOFILE")) >= Settings.model_fields["connections_max"].default + SOCKETS_MAX
    )
    host, _, port = value("rescind.socket", "ListenStream").rpartition(":")
    settings = dict(re.findall(r"^#?(RESCIND_\w+)=(.*)", (UNITS / "rescind.env").read_text(), re.MULTILINE))
    assert (settings["RESCIND_HOST"], settings["RESCIND_PORT"]) == (host, port)


def test_every_setting_and_command_exists() -> None:
    text = (UNITS / "rescind.env").read_text() + (UNITS / "install").read_text()
    names = {*re.findall(r"\b(RESCIND_[A-Z_]+)", text)}
    assert len(names) > 10
    known = {f"RESCIND_{name.upper()}" for name in (*Settings.model_fields, *ClientSettings.model_fields)}
    assert names <= known, names - known
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for file in SERVICES:
        _, name, *arguments = value(file.name, "ExecStart").split()
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= options, arguments


def test_the_environment_file_is_one_for_systemd_and_for_a_shell() -> None:
    for line in (UNITS / "rescind.env").read_text().splitlines():
        assert re.fullmatch(r"(# .*|#?RESCIND_[A-Z_]+=([\w.,:/@-]*|'[^']*'))?", line), line


def test_an_installation_can_be_repeated_and_makes_keys_once(tmp_path: Path) -> None:
    """The script against a tree of its own: what needs a running systemd is replaced by programs that succeed."""
    root, fakes = tmp_path / "root", tmp_path / "fakes"
    fakes.mkdir()
    for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "setpriv"):
        (fakes / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/called\n')
        (fakes / name).chmod(0o755)
    (fakes / "id").write_text("#!/bin/sh\necho 0\n")
    (fakes / "id").chmod(0o755)
    (root / "opt/rescind/bin").mkdir(parents=True)
    (root / "opt/rescind/bin/rescind").symlink_to("/bin/true")
    (root / "opt/rescind/bin/python").symlink_to(sys.executable)
    script = (UNITS / "install").read_text()
    copied = tmp_path / "systemd"
    shutil.copytree(UNITS, copied)
    (copied / "install").write_text(re.sub(r"(?<![\w\"$}/])/(etc|opt|usr|var)/", rf"{root}/\1/", script))
    environment = {**os.environ, "PATH": f"{fakes}:{os.environ['PATH']}"}
    run("sh", copied / "install", env=environment)
    settings = root / "etc/rescind/rescind.env"
    first = settings.read_text()
    keys = dict(re.findall(r"^(RESCIND_\w+_KEY)=([0-9a-f]{64})$", first, re.MULTILINE))
    assert {*keys} == {"RESCIND_SECRET_KEY", "RESCIND_BOOTSTRAP_KEY", "RESCIND_API_KEY"}
    assert keys["RESCIND_SECRET_KEY"] != keys["RESCIND_BOOTSTRAP_KEY"] == keys["RESCIND_API_KEY"]
    assert settings.stat().st_mode & 0o777 == 0o600  # until tmpfiles.d lets the group read it
    assert (root / "etc/systemd/system/rescind.socket").exists()
    called = (tmp_path / "called").read_text()
    assert called.index("daemon-reload") < called.index("restart rescind.service")
    (root / "etc/systemd/system/rescind.service").write_text("of an earlier release")
    run("sh", copied / "install", env=environment)
    assert settings.read_text() == first
    assert (root / "etc/systemd/system/rescind.service").read_text() == (UNITS / "rescind.service").read_text()
    # An environment that is closed to the server's user: the present server is left alone.
    (fakes / "setpriv").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "called").unlink()
    command = ["/bin/sh", str(copied / "install")]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "chmod -R go+rX" in refused.stderr
    assert "restart" not in (tmp_path / "called").read_text()


async def test_systemds_own_program_hands_the_socket_over(tmp_path: Path) -> None:
    """`systemd-socket-activate` listens, and starts the server for the first connection, which waits."""
    port = lasting_port()
    environment = {"PATH": os.environ["PATH"], "RESCIND_DATABASE_URL": f"sqlite:///{tmp_path}/rescind.db"}
    program = shutil.which("systemd-socket-activate")
    assert program is not None, "systemd-socket-activate is not installed: deploy/checks/install-tools installs it"
    rescind = Path(sys.executable).parent / "rescind"
    setenv = [f"--setenv={name}" for name in environment]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, f"--listen=127.0.0.1:{port}", *setenv, rescind, "serve", env=environment, stdout=log, stderr=log
        )
        try:
            async with asyncio.timeout(60):
                response = await _ready(port)
            assert response.startswith(b"HTTP/1.1 200 "), response
        finally:
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0, log.name


async def _ready(port: int) -> bytes:
    """The answer to the first request of all; only until the port is open does one try again."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
            continue
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

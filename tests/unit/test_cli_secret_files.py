"""Secrets as files: Docker's, Kubernetes' and systemd's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli import environment
from app.cli.environment import load_env_file, load_secret_files
from app.cli.failure import MISUSED, Failure

NAMES = ("RESCIND_SECRET_KEY", "HOOK_SECRET", "SECRET_OF_TEST", "RESCIND_SECRETS_DIR", "CREDENTIALS_DIRECTORY")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in NAMES}
    monkeypatch.setattr(os, "environ", environ)


def test_files_are_variables_and_rank_between_the_environment_and_dotenv(tmp_path: Path) -> None:
    version = tmp_path / "..2026"
    version.mkdir()
    (version / "RESCIND_SECRET_KEY").write_bytes(b"a b=c\r\n")
    (tmp_path / "RESCIND_SECRET_KEY").symlink_to(version / "RESCIND_SECRET_KEY")
    (tmp_path / "HOOK_SECRET").write_bytes(b"-----BEGIN\nline\n\n")
    (tmp_path / "SECRET_OF_TEST").write_bytes(b"of the file")
    for other in ("tls.crt", "..data", "1A", "Ä"):
        (tmp_path / other).write_bytes(b"\xff")
    (tmp_path / "a_folder").mkdir()
    dotenv = tmp_path / ".env"
    dotenv.write_text("HOOK_SECRET=of .env\n")
    os.environ |= {"RESCIND_SECRETS_DIR": str(tmp_path), "SECRET_OF_TEST": "of the environment"}
    before = {*os.environ}
    load_secret_files()
    load_env_file(dotenv)
    assert {*os.environ} - before == {"RESCIND_SECRET_KEY", "HOOK_SECRET"}
    assert [os.environ[name] for name in NAMES[:3]] == ["a b=c", "-----BEGIN\nline\n", "of the environment"]


def test_credentials_of_systemd_are_read_unless_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "HOOK_SECRET").write_text("x")
    os.environ |= {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    load_secret_files()
    assert os.environ.pop("HOOK_SECRET") == "x"
    (tmp_path / "empty").mkdir()
    os.environ |= {"RESCIND_SECRETS_DIR": str(tmp_path / "empty")}
    load_secret_files()
    assert "HOOK_SECRET" not in os.environ


def test_what_cannot_be_a_value_is_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ |= {"RESCIND_SECRETS_DIR": str(tmp_path / "nowhere")}
    with pytest.raises(Failure, match=r"There is no folder .*nowhere \(RESCIND_SECRETS_DIR\)") as caught:
        load_secret_files()
    assert caught.value.code == MISUSED
    os.environ |= {"RESCIND_SECRETS_DIR": str(tmp_path)}
    monkeypatch.setattr(environment, "SECRET_MAX", 10)
    for raw, said in ((b"s3cr3t\xff", "it is not UTF-8"), (b"s3cr3t\0", "it has a NUL"), (b"s3cr3t" * 2, "10 bytes")):
        (tmp_path / "HOOK_SECRET").write_bytes(raw)
        with pytest.raises(Failure, match=said) as caught:
            load_secret_files()
        assert f"{tmp_path}/HOOK_SECRET" in str(caught.value)
        assert "s3cr3t" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__cause__ is None
    assert "HOOK_SECRET" not in os.environ

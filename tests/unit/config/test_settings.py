"""Settings: what they show of themselves."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from app.config.settings import Settings, written_default
from app.runtime.mail import read_smtp_url

PASSWORD = "pa55:w@rd"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"postgresql://me:{PASSWORD}@db.example:5432/rescind", "postgresql://me:**********@db.example:5432/rescind"),
        (
            f"postgresql://db/rescind?user=me&password={PASSWORD}&x=1",
            "postgresql://db/rescind?user=me&password=**********&x=1",
        ),
        ("postgresql://me@db.example/rescind", "postgresql://me@db.example/rescind"),
        ("sqlite:////var/lib/rescind.db", "sqlite:////var/lib/rescind.db"),
    ],
)
def test_a_database_url_is_shown_without_its_password(given: str, shown: str) -> None:
    assert Settings.model_construct(database_url=given).shown_database_url == shown


def test_an_error_about_the_database_url_does_not_hold_its_password() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(database_url=f"postgresql://me:{PASSWORD}@db.example/rescind")
    assert PASSWORD not in str(raised.value)
    assert PASSWORD not in repr(Settings.model_construct(database_url=f"postgresql://me:{PASSWORD}@db/rescind"))


def test_a_default_is_written_as_the_environment_would_have_it() -> None:
    for name, field in Settings.model_fields.items():
        written = written_default(field.default)
        assert getattr(Settings.model_validate({name: written}), name) == field.default, name


def test_the_mail_server_is_checked_and_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_SMTP_URL", "smtp://user:pass%2Fword@mail.example:2525")
    monkeypatch.setenv("RESCIND_MAIL_FROM", "rescind@acme.example")
    settings = Settings()
    server = read_smtp_url(settings.smtp_url.get_secret_value())
    assert (server.host, server.port, server.user, server.password) == ("mail.example", 2525, "user", "pass/word")
    assert "pass" not in repr(settings) + repr(server)
    assert {"pass/word", "smtp://user:pass%2Fword@mail.example:2525"} <= set(settings.secrets)
    assert read_smtp_url("smtps://mail.example").port == 465
    for url in (
        "mail.example",
        "http://user:pass-word@mail.example",
        "smtp://user:pass-word@",
        "smtp://user@mail.example",
    ):
        monkeypatch.setenv("RESCIND_SMTP_URL", url)
        with pytest.raises(ValidationError, match="must be smtp://USER") as caught:
            Settings()
        assert "pass-word" not in str(caught.value)
    monkeypatch.setenv("RESCIND_SMTP_URL", "")
    monkeypatch.setenv("RESCIND_MAIL_FROM", "Rescind\nBcc: x@y.example")
    with pytest.raises(ValidationError, match="is not a mail address"):
        Settings()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:p%40ss-word@db/x", "postgresql://me:**********@db/x"),
        (
            "postgres://me:p%40ss-word@a:5432,[::1]:5433/x?sslmode=require",
            "postgres://me:**********@a:5432,[::1]:5433/x?sslmode=require",
        ),
        ("postgresql://db/x?user=me&password=p%40ss-word", "postgresql://db/x?user=me&password=**********"),
    ],
)
def test_the_password_of_a_database_is_shown_nowhere(url: str, shown: str) -> None:
    key = "k" * 32
    settings = Settings(database_url=url, database_direct_url=url, database_replica_url=url, secret_key=SecretStr(key))
    assert settings.shown_database_url == shown
    assert {"p%40ss-word", "p@ss-word"} <= set(settings.secrets)
    for text in (repr(settings), str(settings), repr(settings.database), settings.shown_database_url):
        assert "ss-word" not in text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:pass#word@db/x",
        "postgresql://me:pass/word@db/x",
        "postgresql://me:pass?word@db/x",
        "postgresql://me:password@db:port/x",
        "postgresql://me:password@[db/x",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(url: str) -> None:
    for name in ("database_url", "database_direct_url", "database_replica_url"):
        with pytest.raises(ValidationError, match="percent-encode") as raised:
            Settings.model_validate({"secret_key": "k" * 32, name: url})
        assert "word" not in str(raised.value).replace("password", "")
        assert "pass/" not in str(raised.value)


def test_servers_that_share_a_database_need_the_key_that_seals_secrets() -> None:
    with pytest.raises(ValidationError, match="RESCIND_SECRET_KEY is required"):
        Settings(database_url="postgresql://db/x")

"""Settings from the environment (`RESCIND_*`)."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.config.mail_address import check_address
from app.runtime.mail import read_smtp_url
from app.store.opening import Database
from app.store.postgres.connection import READERS, Target

SECRET_MIN = 32
DEFAULT_PORT = 8700
SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")
_PASSWORDS = (re.compile(r"(://[^/?#@:]*:)([^/?#]*)(?=@)"), re.compile(r"([?&]password=)([^&#]*)"))
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:]*)(:\d{1,5})?")


class Settings(BaseSettings):
    """Settings of the server. Every field is an environment variable with the prefix `RESCIND_`."""

    # Error messages would show the whole database URL, with its password.
    model_config = SettingsConfigDict(env_prefix="RESCIND_", extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: str = Field(
        "sqlite:///rescind.db",
        repr=False,
        description="The database: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE, for many nodes.",
    )
    database_schema: str = Field(
        "rescind", min_length=1, max_length=63, description="PostgreSQL: the schema that holds the tables."
    )
    database_direct_url: str = Field(
        "",
        repr=False,
        description="PostgreSQL behind a pooler (PgBouncer): URL past it, for notifications and migrations.",
    )
    database_replica_url: str = Field(
        "", repr=False, description="PostgreSQL: URL of a standby for lists, searches and the console."
    )
    database_connections: int = Field(
        12, ge=10, le=64, description="PostgreSQL: connections of this server; eight of them do not write."
    )
    migrate: bool = Field(
        default=False, description="PostgreSQL: migrate the schema at start. `rescind migrate` does it before."
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="The port to listen on; 0 takes any free one.")
    public_url: str = Field(
        "", description="URL under which providers reach this server; used in the URLs of endpoints."
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Encrypts secrets at rest, 32 characters or more; several, comma-separated, for rotation: "
        "the first encrypts, all decrypt. Default: generated, and stored beside the SQLite file.",
    )
    bootstrap_key: SecretStr = Field(
        SecretStr(""), description="An initial admin API key, any string of 32 characters or more."
    )
    smtp_url: SecretStr = Field(
        SecretStr(""),
        description="Mail server for subscriptions of format email: smtp://USER:PASSWORD@HOST:587 (with STARTTLS, "
        "unless HOST is this machine) or smtps://USER:PASSWORD@HOST:465.",
    )
    mail_from: str = Field("", description="Sender of mails: a mail address.")
    allow_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Private networks (CIDR, comma-separated) that outgoing calls may reach."
    )
    handlers_path: str = Field(
        "", description="Folders with additional handlers, each a package; separated as in PATH."
    )
    body_max: int = Field(1_048_576, ge=1024, description="The largest webhook body, in bytes.")
    bodies_max: int = Field(
        67_108_864, ge=1024, description="Total size of request bodies in memory, in bytes; more get 503."
    )
    body_timeout_s: float = Field(30.0, gt=0, description="Time limit for a request body to arrive, in seconds.")
    idle_timeout_s: float = Field(
        75.0,
        gt=0,
        description="Time limit for the head of a connection's first or next request, in seconds. Set it longer than a "
        "proxy in front keeps idle connections.",
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How long a server that was asked to stop (SIGTERM, Ctrl-C) still serves requests, in seconds, "
        "while `/readyz` responds 503, so that load balancers leave it first.",
    )
    connections_max: int = Field(4096, ge=1, description="Most open connections; more get 503.")
    connections_per_address: int = Field(
        256, ge=1, description="Most open connections from one address (IPv6: from one /64)."
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="Networks (CIDR, comma-separated) of proxies in front, whose addresses are exempt from the limits "
        "per address, and whose `X-Forwarded-For` or `Forwarded` is believed.",
    )
    key_rate_per_s: float = Field(
        1000.0, ge=0, le=1_000_000, description="Most requests per second of one API key, more get 429; 0: any number."
    )
    endpoint_rate_per_s: float = Field(
        10_000.0,
        ge=0,
        le=1_000_000,
        description="Most webhooks per second of one endpoint, more get 429; 0: any number.",
    )
    auth_failures_per_min: float = Field(
        60.0,
        ge=0,
        le=1_000_000,
        description="Most requests per minute without a valid API key from one address, more get 429; 0: any number. "
        "Requests with a valid key are not affected.",
    )
    streams_max: int = Field(100, ge=1, le=10_000, description="Most open event streams; more get 503.")
    streams_per_key: int = Field(20, ge=1, description="Most open event streams of one API key; more get 429.")
    deliveries_kept_days: float = Field(
        30.0,
        gt=0,
        description="How long messages to subscribers are kept after they were delivered, in days. What failed or is "
        "pending is kept.",
    )
    retention_days: float = Field(
        90.0,
        ge=0,
        le=36_500,
        description="After so many days personal data is expunged: query, headers and body of receipts, exchanges of "
        "attempts, and what handlers declare personal in orders that are over for so long. Facts stay. 0: never.",
    )
    history_days: float = Field(
        0.0,
        ge=0,
        le=36_500,
        description="On PostgreSQL, months that ended so many days ago are dropped: their receipts and attempts, and "
        "all of their orders that are over, with their events. 0: never.",
    )
    session_h: float = Field(
        12.0, gt=0, le=24 * 30, description="How long one stays signed in to the console, in hours."
    )
    console_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names under which browsers may open the console, comma-separated, besides addresses, "
        "localhost and the host of RESCIND_PUBLIC_URL; `*`: any. Default: only those while the server listens on "
        "loopback, else any.",
    )
    tracing: bool = Field(
        default=False,
        description="Export traces by OpenTelemetry (`pip install 'rescind[otel]'`); the variables OTEL_… say where.",
    )
    tracing_providers: bool = Field(
        default=False,
        description="Send providers the context of traces (`traceparent`), too; subscribers get it always.",
    )
    log_format: Literal["json", "console"] = Field("json", description="Format of log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")

    @field_validator("allow_networks", "trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        if isinstance(given, str):
            return tuple(ip_network(part.strip()) for part in given.split(",") if part.strip())
        return given

    @field_validator("console_hosts", mode="before")
    @classmethod
    def _host_names(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        names = tuple(part.strip().lower() for part in given.split(",") if part.strip())
        if any(name != "*" and not re.fullmatch(r"[a-z0-9_.-]+", name) for name in names):
            raise ValueError("give host names without scheme and port, such as rescind.internal.example")
        return names

    @field_validator("public_url")
    @classmethod
    def _url(cls, given: str) -> str:
        if given and not re.match(r"https?://[^/?#\s]+[^?#\s]*$", given):
            raise ValueError(
                "give the URL under which providers reach this server, such as https://rescind.example.com"
            )
        return given

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, given: SecretStr) -> SecretStr:
        if given.get_secret_value():
            read_smtp_url(given.get_secret_value())
        return given

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, given: str) -> str:
        return check_address(given) if given else given

    @field_validator("bootstrap_key", "secret_key")
    @classmethod
    def _long_enough(cls, given: SecretStr) -> SecretStr:
        parts = [part for part in given.get_secret_value().split(",") if part]
        if any(len(part) < SECRET_MIN for part in parts):
            raise ValueError(f"it must have {SECRET_MIN} characters or more; `openssl rand -hex 32` makes one")
        return given

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, given: str) -> str:
        if given.startswith(POSTGRESQL) or (given.startswith(SQLITE) and given != SQLITE):
            return given
        raise ValueError(
            "it must be sqlite:///FILE (sqlite:////var/lib/rescind.db is an absolute path) or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        )

    @field_validator("database_url", "database_direct_url", "database_replica_url")
    @classmethod
    def _readable_url(cls, given: str) -> str:
        """Refuse what a driver would read otherwise, and quote in its error: a part of the password, perhaps."""
        if given.startswith(POSTGRESQL):
            hosts = given.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
            if "#" in given or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
                raise ValueError(
                    "its host or port cannot be read: percent-encode what is special in the password (@ is %40, # is "
                    "%23, / is %2F, ? is %3F, : is %3A)"
                )
        return given

    @model_validator(mode="after")
    def _shared_key(self) -> Self:
        if self.is_shared and not self.secret_key.get_secret_value():
            raise ValueError("RESCIND_SECRET_KEY is required with PostgreSQL: all servers need the same key")
        return self

    @model_validator(mode="after")
    def _one_body_fits(self) -> Self:
        if self.bodies_max < self.body_max:
            raise ValueError("RESCIND_BODIES_MAX must be at least RESCIND_BODY_MAX")
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secrets among the settings, for redaction."""
        smtp_url = self.smtp_url.get_secret_value()
        password = read_smtp_url(smtp_url).password if smtp_url else None
        keys = self.secret_key.get_secret_value().split(",")
        urls = (self.database_url, self.database_direct_url, self.database_replica_url) if self.is_shared else ()
        # Percent-encoded, as they stand in the URL, and as they are.
        written = [match[2] for url in urls for password in _PASSWORDS for match in password.finditer(url)]
        passwords = [*written, *map(unquote, written)]
        return tuple(filter(None, (self.bootstrap_key.get_secret_value(), *keys, smtp_url, password, *passwords)))

    @property
    def shown_database_url(self) -> str:
        """The database's URL for logs and responses: without its password."""
        shown = self.database_url
        for password in _PASSWORDS:
            shown = password.sub(r"\1**********", shown)
        return shown

    @property
    def is_shared(self) -> bool:
        """Whether many servers may use the database."""
        return self.database_url.startswith(POSTGRESQL)

    @property
    def database(self) -> Database:
        """Where the database is."""
        if not self.is_shared:
            return self.database_path
        return Target(
            self.database_url,
            self.database_schema,
            self.database_replica_url,
            self.database_direct_url,
            self.database_connections - READERS - 2,  # one for the lease, one for notifications
        )

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return Path(self.database_url.removeprefix(SQLITE))


def _local_url() -> str:
    """Where the server of this very environment listens, so that a port is changed in one place."""
    port = os.environ.get("RESCIND_PORT", "").strip()
    # A server with port 0 chooses a free one, which only it knows.
    return f"http://127.0.0.1:{port if port.isdecimal() and int(port) else DEFAULT_PORT}"


class ClientSettings(BaseSettings):
    """Settings of the command line as a client."""

    model_config = SettingsConfigDict(env_prefix="RESCIND_", extra="ignore", frozen=True)

    url: str = Field(
        default_factory=_local_url,
        description="URL of the server that the CLI calls. Default: this machine, at `RESCIND_PORT`.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="API key that the CLI sends.")


def written_default(default: object) -> str:
    """A setting's default as written in the environment; "" if there is none."""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)

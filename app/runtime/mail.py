"""Sends mails through the operator's mail server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

import aiosmtplib

_PORTS = {"smtp": 587, "smtps": 465}


class MailRefusedError(Exception):
    """The mail server did not take the mail; the message says why."""

    def __init__(self, detail: str, code: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        """The server's reply code, if it replied."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server, and how to sign in there."""

    host: str
    port: int
    tls: bool
    """TLS from the first byte; else it is started by STARTTLS, unless the server is on this machine."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, where nobody listens on the way."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def read_smtp_url(url: str) -> SmtpServer:
    """The server that a URL names. Raises ValueError, without repeating the URL."""
    problem = "must be smtp://USER:PASSWORD@HOST:587 or smtps://USER:PASSWORD@HOST:465; write special characters as %XX"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(problem) from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(problem)
    if (parts.username is None) != (parts.password is None):
        raise ValueError(problem)
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return SmtpServer(parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "smtps", user, password)


async def send_mail(
    message: EmailMessage, server: SmtpServer, timeout_s: float, context: ssl.SSLContext | None = None
) -> str:
    """Send a mail; returns the server's reply, with a list of recipients that it refused, if any.

    Raises `MailRefusedError`. `context` replaces the system's certificate authorities.
    """
    try:
        refused, reply = await aiosmtplib.send(
            message,
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            start_tls=not (server.tls or server.is_here),
            tls_context=context,
            timeout=timeout_s,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        first = error.recipients[0]
        raise MailRefusedError(f"all recipients were refused: {first.code} {first.message}", first.code) from error
    except aiosmtplib.SMTPResponseException as error:
        raise MailRefusedError(f"{error.code} {error.message}", error.code) from error
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        raise MailRefusedError(f"{type(error).__name__}: {error}") from error
    others = "; ".join(f"{address}: {response.code} {response.message}" for address, response in refused.items())
    return f"{reply}; not to {others}" if others else reply

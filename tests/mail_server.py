"""A mail server on loopback, as far as clients see one: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from providers import WAIT_S
from tcp_servers import stop_listening


@dataclass(slots=True)
class Mail:
    """One mail that was accepted."""

    sender: str
    recipients: list[str]
    raw: bytes
    user: str | None
    tls: bool

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def text(self, subtype: str = "plain") -> str:
        part = self.message.get_body((subtype,))
        assert part is not None
        return str(part.get_content())


@dataclass(slots=True)
class MailServer:
    """Accepts mails; refuses the recipients in `refused` with 550, and the next `failures` mails with 451."""

    tls: ssl.SSLContext | None = None
    users: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    failures: int = 0
    mails: list[Mail] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Every command that came."""
    port: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: Any = None
    _sessions: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        await stop_listening(self._server)
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def wait_for(self, number: int) -> list[Mail]:
        """The first `number` mails."""
        async with asyncio.timeout(WAIT_S):
            while len(self.mails) < number:
                self._changed.clear()
                await self._changed.wait()
        return self.mails[:number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            await _Session(self, reader, writer).run()
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
        self._sessions.discard(task)

    def accept(self, mail: Mail) -> str:
        """Keep a mail, or not; returns the reply."""
        if self.failures:
            self.failures -= 1
            return "451 try later"
        self.mails.append(mail)
        self._changed.set()
        return "250 queued as 1A2B3C"


@dataclass(slots=True)
class _Session:
    """One connection."""

    server: MailServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    user: str | None = None
    tls: bool = False
    sender: str = ""
    recipients: list[str] = field(default_factory=list)

    async def run(self) -> None:
        await self._say("220 mail.test ESMTP")
        verb = ""
        while verb != "QUIT":
            line = (await self.reader.readuntil(b"\r\n")).decode("latin-1").rstrip("\r\n")
            self.server.lines.append(line)
            verb = line.partition(" ")[0].upper()
            answer = getattr(self, f"_{verb.lower()}", self._other)
            await answer(line)

    async def _say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def _other(self, _line: str) -> None:
        await self._say("250 ok")

    async def _ehlo(self, _line: str) -> None:
        starttls = ["250-STARTTLS"] if self.server.tls is not None and not self.tls else []
        auth = ["250-AUTH PLAIN"] if self.server.users else []
        await self._say("250-mail.test", *starttls, *auth, "250 8BITMIME")

    async def _starttls(self, _line: str) -> None:
        assert self.server.tls is not None
        await self._say("220 go on")
        await self.writer.start_tls(self.server.tls)
        self.tls = True

    async def _auth(self, line: str) -> None:
        _, name, password = b64decode(line.split()[2]).decode().split("\0")
        self.user = name if self.server.users.get(name) == password else None
        await self._say("235 welcome" if self.user else "535 wrong user or password")

    async def _mail(self, line: str) -> None:
        self.sender, self.recipients = line[10:].partition(">")[0].strip(" <"), []
        await self._say("530 sign in first" if self.server.users and self.user is None else "250 ok")

    async def _rcpt(self, line: str) -> None:
        recipient = line[8:].partition(">")[0].strip(" <")
        if recipient in self.server.refused:
            await self._say("550 no such mailbox")
        else:
            self.recipients.append(recipient)
            await self._say("250 ok")

    async def _data(self, _line: str) -> None:
        await self._say("354 go on")
        raw = (await self.reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
        await self._say(self.server.accept(Mail(self.sender, self.recipients, raw, self.user, self.tls)))

    async def _quit(self, _line: str) -> None:
        await self._say("221 bye")


def certify(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Both sides of TLS for 127.0.0.1: the server's, and that of a client which trusts it."""
    key, name = generate_private_key(SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = made.add_extension(names, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM)
    both = directory / "loopback.pem"
    both.write_bytes(certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    return server, ssl.create_default_context(cadata=certificate.decode())

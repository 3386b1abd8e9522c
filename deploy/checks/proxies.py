"""The proxies of `deploy/proxy`, started for real: the shipped files, with only what a test must have otherwise."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import lasting_port
from programs import DEPLOY

HOST = "rescind.example.com"
INSIDE = "127.0.0.0/30"
"""Who may open the console in tests: 127.0.0.1 to 127.0.0.3. Other loopback addresses are strangers'."""
ORDINARY_S, HASTY_BODY_S = 5, 3
"""Time limits of ordinary responses and of requests' bodies at a hasty proxy; others have the shipped ones."""
READY_S = 60.0

_NGINX = {
    "127.0.0.1:8700": "127.0.0.1:{upstream}",
    "listen 80;": "listen 127.0.0.1:{http};",
    "listen 443 ssl http2;": "listen 127.0.0.1:{https} ssl http2;",
    "listen 443 ssl http2 default_server;": "listen 127.0.0.1:{https} ssl http2 default_server;",
    "    listen [::]:80;\n": "",
    "    listen [::]:443 ssl http2;\n": "",
    "    listen [::]:443 ssl http2 default_server;\n": "",
    "/etc/letsencrypt/live/rescind.example.com/": "{folder}/",
    "/var/log/nginx/": "{folder}/",
    "allow 127.0.0.0/8;": f"allow {INSIDE};",
    "proxy_read_timeout 60s;": "proxy_read_timeout {ordinary}s;",
}
_NGINX_MAIN = """{user}daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/rescind.conf;
}}
"""
_CADDY = {
    "\n{\n": "\n{{\n\tadmin off\n\thttp_port {http}\n\thttps_port {https}\n",
    "\nrescind.example.com {": "\n{host} {{\n\tbind 127.0.0.1\n\ttls {folder}/fullchain.pem {folder}/privkey.pem",
    "remote_ip 127.0.0.0/8 ": f"remote_ip {INSIDE} ",
    "read_body 60s": "read_body {body}s",
    "response_header_timeout 60s": "response_header_timeout {ordinary}s",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy in a folder of its own, before a Rescind at a port of this machine."""

    name: str
    folder: Path
    http: int
    https: int
    command: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where it serves; the host name exists in the certificate only."""
        return f"https://{HOST}:{self.https}"

    def logs(self) -> str:
        """Everything that it wrote."""
        return "".join(file.read_text() for file in sorted(self.folder.glob("*.log")))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it."""
        with (self.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(self.command, stdout=output, stderr=output, env=_environment(self.folder))
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def configured(name: str, folder: Path, upstream: int) -> Proxy:
    """The proxy `name` (nginx, caddy), whose files in `folder` are made of the shipped ones.

    A `hasty-` one has limits that a test can wait for, which a busy server exceeds now and then.
    """
    hasty, name = name.startswith("hasty-"), name.removeprefix("hasty-")
    assert shutil.which(name), f"{name} is not installed: deploy/checks/install-tools installs it"
    folder.mkdir()
    _make_certificate(folder)
    http, https = lasting_port(), lasting_port()
    ordinary_s, body_s = (ORDINARY_S, HASTY_BODY_S) if hasty else (60, 60)
    given = {"upstream": upstream, "http": http, "https": https, "folder": folder, "host": HOST}
    given |= {"ordinary": ordinary_s, "body": body_s}
    if name == "nginx":
        text = _changed((DEPLOY / "proxy" / "nginx.conf").read_text(), _NGINX, given)
        (folder / "rescind.conf").write_text(text)
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX_MAIN.format(user=user, **given))
        return Proxy(name, folder, http, https, ("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")))
    text = _changed((DEPLOY / "proxy" / "Caddyfile").read_text(), _CADDY, given)
    (folder / "Caddyfile").write_text(text.replace("{$RESCIND_UPSTREAM:127.0.0.1:8700}", f"127.0.0.1:{upstream}"))
    return Proxy(name, folder, http, https, ("caddy", "run", "--config", str(folder / "Caddyfile")))


def client_context(folder: Path) -> ssl.SSLContext:
    """What trusts the certificate in `folder` alone."""
    return ssl.create_default_context(cafile=str(folder / "fullchain.pem"))


def _changed(text: str, changes: Mapping[str, str], given: Mapping[str, object]) -> str:
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the shipped file"
        text = text.replace(old, new.format(**given))
    return text


def _environment(folder: Path) -> dict[str, str]:
    """Caddy keeps its files there, too."""
    return {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pkcs8, nothing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "privkey.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, nothing))

"""Secrets planted everywhere, and looked for in everything that Rescind ever wrote or said, in each spelling (I9).

A real server in a process of its own, providers that repeat whatever they are sent in several spellings, and the
command line. A secret may stand in the database encrypted, and in the one response that shows a new one.
"""

from __future__ import annotations

import json
import re
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from e2e.test_cli_support import Machine
from providers import until
from servers import BOOTSTRAP_KEY, WISH, Server, webhook

from app.store import SEALED
from app.web.server import ROUTES

HARD = '"/+&%=?\\~'
"""Characters that each spelling writes in another way."""
PLAIN = "/+=~"
"""The same for secrets in headers and URLs."""
FETCHED = "Cnry-fetched-token-0123456789"


def canary(name: str, tail: str = HARD) -> str:
    return f"Cnry-{name}-{tail}-x9"


PRIVATE_KEY = (
    generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
CONFIGS: dict[str, dict[str, Any]] = {
    "planomatic": {"api_key": canary("planomatic")},
    "notpanel": {"key": canary("notpanel"), "webhook_secret": canary("notpanel-hook")},
    "kibo": {"tenant": "t1", "shared_secret": canary("kibo"), "credential": f"Bearer {canary('kibo-cred', PLAIN)}"},
    "shoplazza": {
        "shop_domain": "acme",
        "access_token": canary("plazza", PLAIN),
        "client_secret": canary("app", PLAIN),
    },
    "superloop": {"access_token": canary("superloop", PLAIN)},
    "superloop-oauth": {"client_id": "c", "key_id": "k", "private_key": PRIVATE_KEY},
    "generic": {
        "api_key": canary("generic"),
        "secrets": {"password": canary("generic-password")},
        "fields": {"order": "id", "status": "status"},
        "phases": {"placed": "open"},
        "cancel": {
            "url": "/orders/{{ order.id }}/cancel",
            "headers": {"X-Basic": "{{ base64.encode(bytes('user:' + secrets.password)) }}"},
            "body": {"key": "{{ secrets.api_key }}"},
        },
        "probe": {"url": "/orders/{{ order.id }}"},
    },
}
SUBSCRIPTIONS: dict[str, dict[str, Any]] = {
    "signed": {"url": "/in", "headers": {"Authorization": f"Bearer {canary('sub', PLAIN)}"}, "payload": "full"},
    "slack": {"format": "slack", "url": "/services/T0/B0/Cnry0slack0path0x9"},
    "pager": {"format": "pagerduty", "url": "/v2", "routing_key": "Cnry0routing0key0x9"},
    "mail": {"format": "email", "url": "mailto:ops@example.com"},
    "own": {
        "format": "template",
        "url": "/any/Cnry0template0path0x9",
        "headers": {"X-Key": canary("template", PLAIN)},
        "template": {"body": '{"text": {{ notice.title | json }}}'},
    },
}


def spellings(secret: str) -> Iterator[bytes]:
    """How a secret may stand in what was written; independent of how the server removes it."""
    raw = secret.encode()
    texts = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), quote(quote(secret, safe=""), safe="")}
    texts |= {re.sub("%..", lambda escape: escape[0].lower(), text) for text in texts}
    texts |= {json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1]}
    texts |= {text.replace("/", "\\/") for text in texts}
    texts |= {raw.hex(), raw.hex().upper(), secret[:-4] + "\\u" + f"{ord(secret[-4]):04x}" + secret[-3:]}
    for shift in range(3):
        encoded = b64encode(bytes(shift) + raw).decode()
        # Without the characters that depend on what stands before and after it.
        part = encoded[4 if shift else 0 : -4]
        texts |= {part, part.replace("+", "-").replace("/", "_")}
    return (text.encode() for text in texts)


def leaks(said: dict[str, bytes], secrets: dict[str, str]) -> list[tuple[str, str, bytes]]:
    """(secret, where it stands, its spelling)."""
    return [
        (name, where, spelling)
        for name, secret in secrets.items()
        for spelling in spellings(secret)
        for where, content in said.items()
        if spelling in content
    ]


SETTINGS = {
    "RESCIND_PUBLIC_URL": "https://rescind.example.com",
    "RESCIND_SMTP_URL": f"smtp://mailer:{quote(canary('smtp'), safe='')}@127.0.0.1:1",
    "RESCIND_MAIL_FROM": "rescind@example.com",
}


class Configured(Server):
    """A server with these settings."""

    def _environment(self) -> dict[str, str]:
        return super()._environment() | SETTINGS


class Echo:
    """A provider that repeats all that it is sent, in several spellings, with one status after the other."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.links: set[str] = set()
        """Tokens of the links by which a person approves a cancel."""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.calls.append(request.path)
        if request.path.endswith("/token"):
            return web.json_response({"access_token": FETCHED, "token_type": "Bearer", "expires_in": 3600})
        sent = (await request.read()).decode() + "\n" + "\n".join(f"{k}: {v}" for k, v in request.headers.items())
        sent += f"\n{request.raw_path if hasattr(request, 'raw_path') else request.path_qs}"
        links = re.findall(r"https:..[^\s\"]*/approvals/[\w-]+", sent)
        self.links |= {link.rpartition("/")[2] for link in links}
        echoes = [sent, quote(sent), b64encode(sent.encode()).decode(), json.dumps(sent)]
        status = (200, 400, 401, 404, 422, 500)[len(self.calls) % 6]
        # First, as not all of a response is kept.
        first = [each for link in links[:1] for each in (link, quote(link, safe=""), json.dumps(link))]
        body = {"links": first, "error": echoes, "errors": [{"message": sent}], "message": sent, "status": echoes[1]}
        return web.json_response(body, status=status, headers={"X-Echo": quote(sent)[:4000]})


class Planted:
    """A server in which secrets were planted, and what they are."""

    def __init__(self, server: Server, folder: Path, echo: Echo) -> None:
        self.server, self.folder, self.echo = server, folder, echo
        self.secrets: dict[str, str] = {"bootstrap": BOOTSTRAP_KEY, "fetched": FETCHED, "smtp": canary("smtp")}
        self.whole: dict[str, str] = {}
        """The same, with keys of several lines as a whole."""
        self.here = Machine(folder)
        self.said: dict[str, bytes] = {}

    def plant(self, where: str, value: Any) -> None:
        """Note all secrets in a configuration."""
        if isinstance(value, dict):
            for name, inner in value.items():
                self.plant(f"{where}.{name}", inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                self.plant(f"{where}.{number}", inner)
        elif isinstance(value, str) and "PRIVATE KEY" in value:
            self.secrets[where], self.whole[where] = value.splitlines()[5], value
        elif isinstance(value, str) and "Cnry" in value and "{{" not in value:
            self.secrets[where] = value.rpartition("/")[2] if ".url" in where else value.removeprefix("Bearer ")

    def hear(self, where: str, reply: Any) -> None:
        self.said[f"{where} #{len(self.said)}"] = reply.raw if hasattr(reply, "raw") else reply


@pytest_asyncio.fixture
async def planted(tmp_path: Path) -> AsyncIterator[Planted]:
    echo = Echo()
    await echo.start()
    async with aiohttp.ClientSession() as session:
        server = Configured(tmp_path, session)
        await server.start()
        yield Planted(server, tmp_path, echo)
        await server.stop()
    await echo.stop()


async def configure(planted: Planted) -> None:
    """Accounts of every provider, endpoints, subscriptions and keys; what is generated is planted as well."""
    server = planted.server
    for name, config in CONFIGS.items():
        base = planted.echo.url + ("/api" if name == "shoplazza" else "")
        more = {"token_url": f"{planted.echo.url}/token"} if "private_key" in config else {}
        body = {
            "provider": name.partition("-")[0],
            "config": {**config, **more, "base_url": base},
            "unknown_orders": "send",
        }
        planted.hear(f"PUT {name}", await server.put("accounts", name, body))
        planted.plant(name, config)
        secrets = [canary(f"{name}-in", PLAIN), canary(f"{name}-former", PLAIN)]
        verify = {"scheme": "token", "secrets": secrets}
        planted.hear("PUT endpoint", await server.put("endpoints", f"{name}-in", {"account": name, "verify": verify}))
        planted.plant(f"{name}-in", secrets)
    for name, body in SUBSCRIPTIONS.items():
        planted.plant(name, body)
        given = body if body["url"].startswith("mailto:") else {**body, "url": planted.echo.url + body["url"]}
        planted.hear("PUT subscription", await server.put("subscriptions", name, given))
    for path, body in (
        ("/v1/keys", {"name": "ci", "scope": "admin"}),
        ("/v1/endpoints", {"id": "made", "account": "planomatic"}),
        ("/v1/subscriptions", {"id": "made", "url": "https://hooks.example.com/x"}),
    ):
        for again in range(2):
            made = await server.ask("POST", path, body, headers={"Idempotency-Key": path})
            assert made.status == 201, made
            planted.secrets[f"{path} {again}"] = made.json.get("key") or made.json["secret"]
        rotate = f"{path}/{made.json['id'] if path == '/v1/keys' else 'made'}/rotate"
        rotated = await server.ask("POST", rotate, {}, headers={"Idempotency-Key": f"rotate {path}"})
        assert rotated.status < 300, rotated
        planted.secrets[rotate] = rotated.json.get("key") or rotated.json["secret"]
    master = (planted.folder / "rescind.db.key").read_text().strip()
    planted.secrets["the master key"] = master


async def use(planted: Planted) -> None:
    """Webhooks, authentic and not, that contain secrets; cancels; and requests that are refused."""
    server = planted.server
    everything = list(planted.secrets.values())
    for name in CONFIGS:
        token = canary(f"{name}-in", PLAIN)
        planted.secrets["a stranger's token"] = "Cnry-token-of-a-stranger-0123"
        own = [
            planted.whole.get(where, secret)
            for where, secret in planted.secrets.items()
            if where.startswith((f"{name}.", f"{name}-in."))
        ]
        for body in (
            {"id": "o-1", "status": "placed", "note": own},
            {"event": "x", "all": [quote(each) for each in own]},
        ):
            for given in (quote(token, safe=""), "Cnry-token-of-a-stranger-0123"):
                headers = {"X-Copy": token, "Content-Type": "application/json"}
                path = f"/webhooks/{name}-in?token={given}"
                planted.hear(
                    path, await server.ask("POST", path, data=json.dumps(body).encode(), key=None, headers=headers)
                )
        path = f"/v1/accounts/{name}/orders/{'1' if name == 'notpanel' else 'o-1'}/cancellations"
        words = {
            "kibo": {"reason": "Other", "note": "x"},
            "shoplazza": {"reason": "late"},
            "generic": {"reason": "late"},
        }
        for body in (words.get(name.partition("-")[0], WISH), {"reason": "late"}, {}):
            reply = await server.ask("POST", path, body)
            planted.hear(path, reply)
            if reply.status == 202:
                break
        else:
            raise AssertionError(reply)
        planted.hear("probe", await server.ask("POST", f"/v1/accounts/{name}/probes", {"orders": ["2"]}))
    policy = {"accounts": ["planomatic"], "when": "order.id == 'o-9'", "mode": "approve", "cancel": WISH}
    planted.hear("PUT policy", await server.put("policies", "ask", policy))
    order, token = webhook("order.processed", "o-9"), quote(canary("planomatic-in", PLAIN), safe="")
    assert (await server.hook(order, "planomatic-in", token)).json["status"] == "accepted"
    # The former secret of a rotated endpoint is still valid, and still a secret.
    both = [secret for where, secret in planted.secrets.items() if where.startswith("/v1/endpoints")]
    for secret in both:
        headers = {"Authorization": f"Bearer {secret}", "X-Copy": b64encode(secret.encode()).decode()}
        body = json.dumps({"event": "x", "all": both}).encode()
        path = "/webhooks/made?token=" + quote(secret, safe="")
        planted.hear("POST made", await server.ask("POST", path, data=body, key=None, headers=headers))
    for name, config in CONFIGS.items():
        # In the wrong place, of the wrong type, misspelled.
        for body in (
            {"provider": name.partition("-")[0], "config": [config]},
            {"provider": name.partition("-")[0], "config": {**config, "api_kye": 1, "base_url": 7}},
            {"provider": "nix", "config": config},
            {"provider": "generic", "limits": {"requests": "x"}, "config": config},
        ):
            reply = await server.ask("PUT", "/v1/accounts/broken", body)
            assert reply.status == 422, reply
            planted.hear("refused", reply)
    for secret in everything:
        planted.hear("malformed", await server.ask("POST", "/v1/apply", data=b'{"resources": "%b' % secret.encode()))
        planted.hear("path", await server.ask("GET", "/metrics", key=secret[:20]))


async def settle(planted: Planted) -> None:
    """Wait until every account has had a response."""

    async def attempted() -> bool:
        for name in CONFIGS:
            order = "1" if name == "notpanel" else "o-1"
            timeline = await planted.server.ask("GET", f"/v1/accounts/{name}/orders/{order}/timeline")
            entries = timeline.json["data"] if timeline.status == 200 else []
            if not any(entry["kind"] == "attempt" and entry["attempt"].get("ended_at") for entry in entries):
                return False
        return True

    await until(attempted, "an attempt for each account")

    async def delivered() -> bool:
        db = sqlite3.connect(f"file:{planted.folder}/rescind.db?mode=ro", uri=True)
        rows = db.execute("SELECT DISTINCT subscription FROM deliveries WHERE attempts <> '[]'").fetchall()
        db.close()
        return {name for (name,) in rows} >= SUBSCRIPTIONS.keys()

    await until(delivered, "a delivery for each subscription")

    async def proposed() -> bool:
        return bool(planted.echo.links)

    await until(proposed, "a link to an approval")
    planted.secrets |= {f"link {number}": token for number, token in enumerate(planted.echo.links)}


async def read_everything(planted: Planted) -> None:
    """Every GET of the API, with every id; and the commands."""
    server = planted.server
    accounts = list(CONFIGS)
    ids: dict[str, list[str]] = {}
    for kind in ("events", "receipts", "cancellations", "accounts", "endpoints", "subscriptions", "keys"):
        ids[kind] = [str(row["id"]) for row in (await server.get(f"/v1/{kind}"))["data"]][:80]
        assert ids[kind], kind
    for route in ROUTES:
        if route.method != "GET":
            continue
        choices = ids.get(route.path.split("/")[2], ["-"])
        for id in choices if "{id}" in route.path else ["-"]:
            for account in accounts if "{account}" in route.path else ["-"]:
                path = route.path.replace("{id}", id).replace("{account}", account)
                path = path.replace("{order}", "1" if account == "notpanel" else "o-1").replace("{backtest}", "-")
                for query in ("?raw=true", "") if route.name == "getReceipt" else ("",):
                    planted.hear(f"GET {path}", await server.ask("GET", path + query))
    for path in ("/metrics", "/openapi.json", "/docs", "/healthz", "/readyz", "/", "/v1/nothing"):
        planted.hear(path, await server.ask("GET", path))
    planted.here.env |= {
        "RESCIND_URL": server.url,
        "RESCIND_API_KEY": BOOTSTRAP_KEY,
        "RESCIND_BOOTSTRAP_KEY": BOOTSTRAP_KEY,
    }
    commands = [[kind, "list", *more] for kind in ids for more in ([], ["--json"])]
    commands += [["accounts", "show", name] for name in accounts] + [["doctor"], ["doctor", "--json"], ["version"]]
    commands += [["receipts", "show", id] for id in ids["receipts"][:3]]
    commands += [["cancellations", "show", id] for id in ids["cancellations"]]
    for command in commands:
        _, out, err = planted.here._end(tuple(command), planted.here.env, "")
        planted.hear(" ".join(command), (out + err).encode())


def read_disk(planted: Planted, when: str) -> None:
    """All files, byte for byte, and all rows; without the key file."""
    for file in planted.folder.iterdir():
        if file.is_file() and file.name != "rescind.db.key":
            planted.said[f"{file.name} {when}"] = file.read_bytes()
    db = sqlite3.connect(f"file:{planted.folder}/rescind.db?mode=ro", uri=True)
    sealed = {(column.table, column.column) for column in SEALED}
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        rows = db.execute("SELECT * FROM " + table)  # noqa: S608 - its own tables
        columns = [column[0] for column in rows.description]
        for row in rows:
            for column, value in zip(columns, row, strict=True):
                raw = value if isinstance(value, bytes) else str(value).encode()
                assert ((table, column) in sealed) == raw.startswith(b"gAAAAA"), (
                    f"{table}.{column}: name it in SEALED, so that the master key's rotation encrypts it anew"
                )
    db.close()


async def test_no_secret_stands_anywhere(planted: Planted) -> None:
    await configure(planted)
    await use(planted)
    await settle(planted)
    await read_everything(planted)
    read_disk(planted, "while it runs")
    await planted.server.stop()
    read_disk(planted, "at the end")
    assert {"server.log at the end", "rescind.db at the end", "rescind.db-wal while it runs"} <= planted.said.keys()
    assert len(planted.secrets) >= 30
    found = leaks(planted.said, planted.secrets)
    assert found == [], "\n".join(f"{name}: {where}: {spelling!r}" for name, where, spelling in found)
    # What was looked into is what there is: the ids, the orders and the echoes of the provider are found in it.
    together = b"".join(planted.said.values())
    for expected in (b"rescind_webhooks_unauthentic", b"unauthentic", b"**********", b"X-Copy", b"superloop-oauth-in"):
        assert expected in together, expected


def test_a_leak_is_found_in_each_spelling() -> None:
    for secret in (canary("x"), canary("y", PLAIN), FETCHED, BOOTSTRAP_KEY):
        for before in ("", "user:", "ab"):
            escaped = json.dumps(before + secret)
            for text in (
                *(
                    before + secret,
                    quote(before + secret),
                    quote(before + secret, safe=""),
                    quote_plus(before + secret),
                ),
                *(escaped, json.dumps(escaped), escaped.replace("/", "\\/"), (before + secret).encode().hex()),
                b64encode((before + secret + "z").encode()).decode(),
            ):
                assert leaks({"log": f"a {text} b".encode()}, {"x": secret}), text
    assert leaks({"log": b"a Cnry b"}, {"x": canary("x")}) == []

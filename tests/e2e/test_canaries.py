"""Secrets planted everywhere, and looked for in everything that Rescind ever wrote or said, in each spelling (I9).

A real server in a process of its own, providers that repeat whatever they are sent in several spellings, and the
command line. A secret may stand in the database encrypted, and in the one response that shows a new one.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest_asyncio
from canaries import CONFIGS, FETCHED, PLAIN, SUBSCRIPTIONS, Echo, canary, leaks
from e2e.test_cli_support import Machine
from providers import until
from servers import BOOTSTRAP_KEY, CANCEL_BODY, Server, unpacked, webhook

from app.store import SEALED
from app.web.server import ROUTES

SETTINGS = {
    "RESCIND_PUBLIC_URL": "https://rescind.example.com",
    "RESCIND_SMTP_URL": f"smtp://mailer:{quote(canary('smtp'), safe='')}@127.0.0.1:1",
    "RESCIND_MAIL_FROM": "rescind@example.com",
}


class Configured(Server):
    """A server with these settings."""

    def _environment(self) -> dict[str, str]:
        return super()._environment() | SETTINGS


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
        for body in (words.get(name.partition("-")[0], CANCEL_BODY), {"reason": "late"}, {}):
            reply = await server.ask("POST", path, body)
            planted.hear(path, reply)
            if reply.status == 202:
                break
        else:
            raise AssertionError(reply)
        planted.hear("probe", await server.ask("POST", f"/v1/accounts/{name}/probes", {"orders": ["2"]}))
    policy = {"accounts": ["planomatic"], "when": "order.id == 'o-9'", "mode": "approve", "cancel": CANCEL_BODY}
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
    await use_wrongly(planted)
    for secret in everything:
        planted.hear("malformed", await server.ask("POST", "/v1/apply", data=b'{"resources": "%b' % secret.encode()))
        planted.hear("path", await server.ask("GET", "/metrics", key=secret[:20]))


async def use_wrongly(planted: Planted) -> None:
    """Secrets in the wrong place, of the wrong type, misspelled."""
    for name, config in CONFIGS.items():
        for body in (
            {"provider": name.partition("-")[0], "config": [config]},
            {"provider": name.partition("-")[0], "config": {**config, "api_kye": 1, "base_url": 7}},
            {"provider": "nix", "config": config},
            {"provider": "generic", "limits": {"requests": "x"}, "config": config},
        ):
            reply = await planted.server.ask("PUT", "/v1/accounts/broken", body)
            assert reply.status == 422, reply
            planted.hear("refused", reply)


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
        # Most responses are failures: a subscription that has had enough of them waits for minutes.
        for name in SUBSCRIPTIONS:
            planted.hear("enable", await planted.server.ask("POST", f"/v1/subscriptions/{name}/enable"))
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
    planted.said[f"receipts {when}"] = b"\n".join(unpacked(planted.folder))
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

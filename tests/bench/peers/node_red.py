"""Node-RED with its SQLite node, from the npm registry: a flow that verifies, stores, and responds."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.bench.peers.fastapi import SECRET
from tests.bench.peers.peer import FOLDER, Peer, making, require, run

PACKAGES = ("node-red@5.0.7", "node-red-node-sqlite@1.1.1")
ENDPOINT = "bench-in"
"""Node-RED leaves a body unparsed only under a fixed path."""
HOME = FOLDER / "node-red"
VERIFY = """
const given = msg.req.headers['x-hub-signature-256'] || '';
const expected = 'sha256=' + crypto.createHmac('sha256', env.get('HOOK_SECRET')).update(msg.payload).digest('hex');
if (given.length !== expected.length || !crypto.timingSafeEqual(Buffer.from(given), Buffer.from(expected))) {
    msg.statusCode = 401;
    msg.payload = {status: 'unauthorized'};
    return [null, msg];
}
const told = JSON.parse(msg.payload);
const order = String(told.order_id);
msg.params = {
    $key: order + ':' + told.event + ':' + told.occurred_at,
    $endpoint: msg.req.path.split('/').pop(),
    $order: order,
    $type: told.event,
    $at: Date.now(),
    $body: msg.payload,
};
return [msg, null];
"""
RESPOND = """
msg.statusCode = 200;
msg.payload = {status: msg.payload.length ? 'accepted' : 'duplicate'};
return msg;
"""
FAIL = "msg.statusCode = 500; msg.payload = {status: 'error'}; return msg;"
TABLE = """CREATE TABLE events (key TEXT PRIMARY KEY, endpoint TEXT, order_id TEXT, type TEXT, received_at INTEGER,
           body BLOB)"""
INSERT = """INSERT INTO events VALUES ($key, $endpoint, $order, $type, $at, $body)
            ON CONFLICT DO NOTHING RETURNING received_at"""
SETTINGS = """module.exports = {
    uiHost: '127.0.0.1', uiPort: Number(process.env.PORT), httpAdminRoot: false, flowFile: 'flows.json',
    credentialSecret: false, functionExternalModules: true, telemetry: {enabled: false},
    logging: {console: {level: 'warn', metrics: false, audit: false}}, editorTheme: {tours: false},
};
"""


def install() -> None:
    """By npm, into the folder of peers."""
    if HOME.exists():
        return
    npm = require("npm")
    with making(HOME) as folder:
        (folder / "package.json").write_text('{"private": true}')
        run([npm, "install", "--no-audit", "--no-fund", "--silent", *PACKAGES], folder, os.environ)


def flow(database: Path) -> list[dict[str, object]]:
    """The nodes and what they are wired to."""
    crypto = [{"var": "crypto", "module": "crypto"}]
    tab = {"z": "tab", "x": 100, "y": 100}  # a node with no place would be a configuration
    return [
        {"id": "tab", "type": "tab", "label": "webhooks"},
        {"id": "db", "type": "sqlitedb", "db": str(database), "mode": "RWC"},
        tab
        | {"id": "in", "type": "http in", "url": f"/webhooks/{ENDPOINT}", "method": "post", "skipBodyParsing": True}
        | {"wires": [["verify"]]},
        tab
        | {"id": "verify", "type": "function", "func": VERIFY, "outputs": 2, "libs": crypto}
        | {"wires": [["store"], ["out"]]},
        tab
        | {"id": "store", "type": "sqlite", "mydb": "db", "sqlquery": "prepared", "sql": INSERT}
        | {"wires": [["respond"]]},
        tab | {"id": "respond", "type": "function", "func": RESPOND, "outputs": 1, "libs": [], "wires": [["out"]]},
        tab | {"id": "catch", "type": "catch", "scope": None, "wires": [["fail"]]},
        tab | {"id": "fail", "type": "function", "func": FAIL, "outputs": 1, "libs": [], "wires": [["out"]]},
        tab | {"id": "out", "type": "http response", "headers": {"content-type": "application/json"}, "wires": []},
    ]


def command(folder: Path, port: int) -> tuple[list[str], Mapping[str, str]]:
    """A server with the flow, whose database has a write-ahead log as that of the others."""
    home, database = folder / "node-red", folder / "node-red.db"
    home.mkdir()
    (home / "settings.js").write_text(SETTINGS)
    (home / "flows.json").write_text(json.dumps(flow(database)))
    # Node-RED looks for nodes in the folder of its user.
    (home / "node_modules").symlink_to((HOME / "node_modules").resolve())
    (home / "package.json").write_text(json.dumps({"dependencies": {"node-red-node-sqlite": "*"}}))
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(TABLE)
        db.execute("CREATE INDEX events_by_order ON events (order_id)")
    red = (HOME / "node_modules" / "node-red" / "red.js").resolve()
    node = [require("node"), str(red), "--userDir", str(home), "--settings", str(home / "settings.js")]
    return node, {"PORT": str(port), "HOOK_SECRET": SECRET}


PEER = Peer(
    "Node-RED",
    "A flow of four nodes, one commit for each webhook, synced to disk before the response; signature, unique key.",
    install,
    command,
    ("node-red.db",),
)

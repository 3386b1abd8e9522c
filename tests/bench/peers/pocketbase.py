"""PocketBase, from the Go module proxy: a hook that verifies the webhook, and saves it as a record of a collection."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.bench.peers.fastapi import SECRET
from tests.bench.peers.peer import FOLDER, NotInstalledError, Peer, making, require, run

VERSION = "v0.36.0"
"""The newest one that Go 1.25 builds."""
GO = 1, 25
MODULE = f"github.com/pocketbase/pocketbase/examples/base@{VERSION}"
HOME = FOLDER / "pocketbase"
PROGRAM = HOME / "base"
HOOK = """routerAdd('POST', '/webhooks/{endpoint}', (e) => {
    const body = readerToString(e.request.body);
    const expected = 'sha256=' + $security.hs256(body, $os.getenv('HOOK_SECRET'));
    if (!$security.equal(e.request.header.get('X-Hub-Signature-256'), expected)) {
        return e.json(401, {status: 'unauthorized'});
    }
    const told = JSON.parse(body);
    const order = String(told.order_id);
    const record = new Record($app.findCachedCollectionByNameOrId('events'), {
        key: order + ':' + told.event + ':' + told.occurred_at,
        endpoint: e.request.pathValue('endpoint'),
        order_id: order,
        type: told.event,
        received_at: Date.now(),
        body: body,
    });
    try {
        $app.save(record);
    } catch (error) {
        if (!String(error).includes('unique')) throw error;
        return e.json(200, {status: 'duplicate'});
    }
    return e.json(200, {status: 'accepted'});
});
"""
COLLECTION = """migrate((app) => {
    const text = (name) => ({type: 'text', name, max: 100000});
    app.save(new Collection({
        type: 'base',
        name: 'events',
        fields: [text('key'), text('endpoint'), text('order_id'), text('type'),
                 {type: 'number', name: 'received_at'}, text('body')],
        indexes: ['CREATE UNIQUE INDEX events_by_key ON events (key)',
                  'CREATE INDEX events_by_order ON events (order_id)'],
    }));
    // Without one it opens a browser to have one made.
    const person = new Record(app.findCollectionByNameOrId('_superusers'));
    person.set('email', 'bench@example.com');
    person.set('password', $security.randomString(30));
    app.save(person);
});
"""


def install() -> None:
    """By `go install`, with its caches in a folder that is deleted at the end."""
    if PROGRAM.exists():
        return
    go = require("go")
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"go(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < GO:
        raise NotInstalledError(f"it needs Go {GO[0]}.{GO[1]} or later; this is {said.strip()}")
    with making(HOME) as folder:
        made = {"GOPATH": "path", "GOCACHE": "cache"}
        own = {name: str(folder / part) for name, part in made.items()}
        flags = {"GOBIN": str(folder), "GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"}
        run([go, "install", MODULE], folder, {**os.environ, **own, **flags})
        for part in made.values():
            shutil.rmtree(folder / part)


def command(folder: Path, port: int) -> tuple[list[str], Mapping[str, str]]:
    """A server with the hook and the collection."""
    hooks, migrations = folder / "pb_hooks", folder / "pb_migrations"
    hooks.mkdir()
    migrations.mkdir()
    (hooks / "webhooks.pb.js").write_text(HOOK)
    (migrations / "1_events.js").write_text(COLLECTION)
    serve = [str(PROGRAM.resolve()), "serve", "--http", f"127.0.0.1:{port}", "--dir", str(folder / "pb_data")]
    serve += ["--hooksDir", str(hooks), "--migrationsDir", str(migrations), "--hooksWatch=false", "--automigrate=false"]
    return serve, {"HOOK_SECRET": SECRET}


PEER = Peer(
    "PocketBase",
    "One commit for each webhook, NOT synced (synchronous = NORMAL): it outlives the process, but not a power cut; "
    "signature, unique key.",
    install,
    command,
    ("pb_data/data.db",),
)

"""The example for Litestream has only keys that Litestream 0.5 knows: it ignores others, and would copy nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from programs import DEPLOY, ROOT

FILE = DEPLOY / "backup" / "litestream.yml"
TOP = {"snapshot", "dbs"}
SNAPSHOT = {"interval", "retention"}
DATABASE = {"path", "replica"}
REPLICAS = {
    "s3": {"bucket", "path", "region", "access-key-id", "secret-access-key"},
    "sftp": {"host", "host-key", "user", "key-path", "path"},
    "file": {"path"},
}
"""By the reference of the configuration file; each of these must be given."""
SHARED = {"type", "sync-interval"}
DURATION = re.compile(r"\d+(s|m|h)")
SECRETS = {"access-key-id", "secret-access-key"}


def variants() -> dict[str, Mapping[str, Any]]:
    """The type of the replica → the file as it is, and with each replica in a comment instead of the first."""
    text = FILE.read_text(encoding="utf-8")
    head, *parts = re.split(r"^    (?:# )?replica:\n", text, flags=re.MULTILINE)
    found = {}
    for part in parts:
        lines = re.sub(r"^    #(?: |$)", "    ", part.partition("\n\n")[0], flags=re.MULTILINE)
        document = yaml.safe_load(f"{head}    replica:\n{lines}\n")
        found[document["dbs"][0]["replica"]["type"]] = document
    assert yaml.safe_load(text) == next(iter(found.values()))
    return found


def test_every_variant_has_the_keys_that_litestream_knows_and_the_paths_of_the_other_examples() -> None:
    documents = variants()
    assert documents.keys() == REPLICAS.keys()
    for kind, document in documents.items():
        assert document.keys() == TOP
        assert document["snapshot"].keys() == SNAPSHOT
        (database,) = document["dbs"]
        assert database.keys() == DATABASE
        assert database["path"] == "/var/lib/rescind/rescind.db"
        replica = database["replica"]
        assert replica.keys() == REPLICAS[kind] | SHARED, kind
        for duration in (*document["snapshot"].values(), replica["sync-interval"]):
            assert DURATION.fullmatch(duration), duration
        for secret in SECRETS & replica.keys():
            assert replica[secret].startswith("${"), "a secret is in the environment, not in the file"


SCHEDULES = {"docker.md": "docker/compose.yaml", "kubernetes.md": "kubernetes/overlays/sqlite/statefulset.yaml"}
KEPT = re.compile(r"--keep,? \"?(\d+)")


def test_pages_keep_as_many_backups_as_the_schedules() -> None:
    """A backup by hand that keeps fewer would remove what the schedule keeps."""
    said = 0
    for page in (ROOT / "docs/operations").rglob("*.md"):
        schedule = DEPLOY / SCHEDULES.get(page.name, "systemd/rescind-backup.service")
        kept, numbers = KEPT.findall(schedule.read_text(encoding="utf-8")), KEPT.findall(page.read_text("utf-8"))
        assert {*numbers} <= {*kept}, f"{page.name}: {schedule.name} keeps {kept}"
        said += len(numbers)
    assert said > len(SCHEDULES)

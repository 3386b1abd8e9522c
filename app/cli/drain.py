"""`rescind drain`: let a node give its work up, before it is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.cli import client, output
from app.cli.client import Api
from app.cli.options import Json


def drain(json: Json = False) -> None:
    """Let the node at the server's URL give its work up to others, and be not ready; then stop it by SIGTERM."""

    def show(_api: Api, node: Mapping[str, Any]) -> None:
        output.say(
            f"Node {node['node']} gives up {node['accounts']} accounts and {node['subscriptions']} subscriptions as "
            "their calls end, and is not ready any more. It serves requests until it is stopped (SIGTERM)."
        )

    client.post("/v1/node/drain", {}, show, as_json=json)

"""The comparator: an aiohttp server whose handler reads the body and answers."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web

_ANSWER = b'{"receipt":"rcp_0000000000000000","status":"accepted"}'


async def receive(request: web.Request) -> web.Response:
    """Read the body, do nothing."""
    await request.read()
    return web.Response(body=_ANSWER, content_type="application/json")


def main() -> None:
    """Serve on the port given."""
    app = web.Application()
    app.router.add_post("/webhooks/{endpoint}", receive)
    app.router.add_get("/v1/accounts/{account}/orders/{order}/verdict", receive)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()

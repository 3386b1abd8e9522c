"""Whether the server on this machine answers, for `rescind healthcheck`.

Containers ask every few seconds, so this loads the standard library's HTTP client and nothing else.
"""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until it is needed
import os
import sys
from collections.abc import Sequence
from http import HTTPStatus
from threading import Thread

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8700
"""As the server's settings have them; a test compares."""
PORT_MAX = 65_535
TIMEOUT_S = 6.0
"""Longer than `/readyz` waits for the database, so that its reason arrives."""
BODY_MAX = 65_536


def read_arguments(arguments: Sequence[str]) -> tuple[bool, float, bool] | None:
    """The command's options `--ready`, `--timeout SECONDS` and `--json`; None if they are others or wrong."""
    ready, timeout_s, as_json = False, TIMEOUT_S, False
    left = iter(arguments)
    for argument in left:
        if argument == "--ready":
            ready = True
        elif argument == "--json":
            as_json = True
        elif argument == "--timeout":
            try:
                timeout_s = float(next(left, ""))
            except ValueError:
                return None
        else:
            return None
    return (ready, timeout_s, as_json) if 0.1 <= timeout_s <= 3600 else None  # noqa: PLR2004 - as the option says


def check(*, ready: bool, timeout_s: float, as_json: bool) -> int:
    """Ask, print one line, and return the exit code: 0 if the server answers, 1 if not."""
    host, port, fault = _address()
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{'/readyz' if ready else '/healthz'}"
    if fault is None and (fault := _ask_in_time(host, port, url, timeout_s)) is not None:
        # What a server says is never read as a terminal's commands.
        text = f"{url}: {fault.removesuffix('.')}."
        fault = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    if as_json:
        from json import dumps

        sys.stdout.write(f"{dumps({'url': url, 'healthy': fault is None, 'fault': fault})}\n")
    elif fault is None:
        sys.stdout.write(f"ok: {url}\n")
    else:
        sys.stderr.write(f"error: {fault}\n")
    return 0 if fault is None else 1


def _address() -> tuple[str, int, str | None]:
    """Host and port of this machine's server, and what is wrong with them."""
    from ipaddress import ip_address

    host = os.environ.get("RESCIND_HOST", DEFAULT_HOST).strip()
    try:
        address = ip_address(host or "0.0.0.0")  # noqa: S104 - "" listens everywhere as well
    except ValueError:
        pass  # a name
    else:
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004
    given = os.environ.get("RESCIND_PORT", str(DEFAULT_PORT)).strip()
    port = int(given) if given.isdecimal() else 0
    if 0 < port <= PORT_MAX:
        return host, port, None
    return host, port, f"RESCIND_PORT is {given!r}: give the port on which the server listens, 1 to {PORT_MAX}."


def _ask_in_time(host: str, port: int, url: str, timeout_s: float) -> str | None:
    """What is wrong with the server; None if it answers."""
    faults: list[str | None] = []
    path = url[url.rindex("/") :]
    # A socket's timeout is for each read: a response that trickles would take for ever.
    asking = Thread(target=lambda: faults.append(_ask(host, port, path, timeout_s)), daemon=True)
    asking.start()
    asking.join(timeout_s)
    return faults[0] if faults else f"there was no response within {timeout_s:g} s"


def _ask(host: str, port: int, path: str, timeout_s: float) -> str | None:
    # It follows no redirect, and takes no proxy from the environment.
    from http.client import HTTPConnection, HTTPException

    try:
        connection = HTTPConnection(host, port, timeout=timeout_s)
    except HTTPException:
        return "RESCIND_HOST is no address and no name of this machine"
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return _fault_in(response.status, response.read(BODY_MAX))
    except TimeoutError:
        return f"there was no response within {timeout_s:g} s"
    except ConnectionRefusedError:
        return "nothing listens there; the server is starting, or has ended"
    except (OSError, HTTPException) as error:
        return f"there was no response ({getattr(error, 'strerror', None) or error or type(error).__name__})"
    finally:
        connection.close()


def _fault_in(status: int, body: bytes) -> str | None:
    from json import loads

    try:
        document = loads(body)
    except ValueError:
        document = None
    # A server with too many connections responds with a problem, which has a `detail`.
    texts = [document.get(name) for name in ("detail", "status")] if isinstance(document, dict) else []
    said = next((text for text in texts if isinstance(text, str)), None)
    if said is None:
        return f"what listens there is not Rescind (it responded with {status})"
    return None if status == HTTPStatus.OK else f"{status}, {said}"

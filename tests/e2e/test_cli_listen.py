"""`rescind listen` and `rescind trigger`: outbound webhooks on this machine."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from e2e.test_cli_support import ACCOUNT, RESOURCES, Machine, machine, until
from processes import lasting_port
from standardwebhooks import Webhook

TYPE = "order.closing_soon"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        made.env["RESCIND_PORT"] = str(lasting_port())  # for a restart
        made.serve()
        made.write("rescind.yaml", RESOURCES)
        made.run("apply", "-f", "rescind.yaml")
        yield made


@pytest.fixture
def local() -> Iterator[Any]:
    """A server on this machine, with what it received: (headers, body)."""
    received: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.received = received  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def read(there: Machine, log: str) -> str:
    return (there.folder / log).read_text(encoding="utf-8")


def test_messages_are_printed_and_forwarded_signed_until_ctrl_c(there: Machine, local: Any):
    target = f"localhost:{local.server_address[1]}/hooks"
    listening = there.start("listen", "--forward-to", target, "-H", "X-Env: dev", log="listen.log")
    until(lambda: "Signing secret" in read(there, "listen.log"), "it listens", listening)
    said = read(there, "listen.log")
    secret = said.partition("Signing secret: ")[2].split()[0]
    assert there.run("trigger", TYPE).err.startswith("msg_")
    until(lambda: "-> 202" in read(there, "listen.log"), "the message was forwarded", listening)
    [(headers, body)] = local.received
    data = Webhook(secret).verify(body, headers)["data"]
    assert (data["account"], data["test"], headers["x-env"]) == (ACCOUNT, True, "dev")
    assert "authorization" not in headers
    line = next(line for line in read(there, "listen.log").splitlines() if TYPE in line)
    assert f"{headers['webhook-id']}  (test)" in line
    assert ACCOUNT in line
    [row] = there.json("subscriptions", "list")["data"]
    until(lambda: there.api(f"/v1/subscriptions/{row['id']}")["delivery"]["pending"] == 0, "acknowledged", listening)
    listening.send_signal(signal.SIGINT)
    assert listening.wait() == 0
    assert there.json("subscriptions", "list")["data"] == [], "the temporary subscription is deleted"


def test_what_is_kept_goes_on_where_it_stopped(there: Machine):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    arguments = ("listen", "--id", "laptop", "--keep", "--events", "cancellation.*", "--secret", secret, "--json")
    first = there.start(*arguments, log="first.log")
    until(lambda: "Signing secret" in read(there, "first.log"), "it listens", first)
    first.send_signal(signal.SIGINT)
    assert first.wait() == 0
    assert "laptop" in there.run("trigger", "cancellation.refused").err
    assert "No subscription receives order.closing_soon" in there.run("trigger", TYPE, code=1).err
    second = there.start(*arguments, log="second.log")
    until(lambda: "cancellation.refused" in read(there, "second.log"), "the message that was held", second)
    line = next(line for line in read(there, "second.log").splitlines() if line.startswith("{"))
    message = json.loads(line)
    assert message["headers"]["webhook-id"] == message["id"]
    assert message["body"]["data"]["cancellation"]["state"] == "refused"
    second.send_signal(signal.SIGINT)
    assert second.wait() == 0
    assert "was not made by" not in read(there, "second.log")
    there.run("subscriptions", "create", "https://crm.example/hooks", "--id", "crm")
    assert "was not made by `rescind listen`" in there.run("listen", "--id", "crm", code=2).err


def test_the_temporary_subscription_is_deleted_also_when_the_process_is_asked_to_end(there: Machine):
    listening = there.start("listen", log="listen.log")
    until(lambda: "Signing secret" in read(there, "listen.log"), "it listens", listening)
    assert len(there.json("subscriptions", "list")["data"]) == 1
    listening.send_signal(signal.SIGTERM)
    assert listening.wait() == 0
    assert read(there, "listen.log").splitlines()[2:] == ["Stopped."]
    assert there.json("subscriptions", "list")["data"] == []


def test_a_restart_of_the_server_ends_nothing(there: Machine):
    listening = there.start("listen", "--forward-to", "127.0.0.1:1", log="listen.log")
    until(lambda: "Signing secret" in read(there, "listen.log"), "it listens", listening)
    assert there.run("trigger", "policy.halted").err.startswith("msg_")
    until(
        lambda: "no connection to 127.0.0.1:1: Connection refused" in read(there, "listen.log"), "it pulls", listening
    )
    server = there.running[0]
    server.kill()
    server.wait()
    there.serve(log="again.log")
    assert there.run("trigger", TYPE).err.startswith("msg_")
    until(lambda: TYPE in read(there, "listen.log"), "the message after the restart", listening)


def test_types_are_listed_and_wrong_ones_refused(there: Machine):
    listed = there.run("trigger", "--list").out
    assert all(type in listed for type in (TYPE, "cancellation.succeeded", "policy.proposed"))
    assert "did you mean 'order.closing_soon'?" in there.run("trigger", "order.closing", code=1).err
    there.run("trigger", code=2)
    there.run("subscriptions", "create", "http://127.0.0.1:1/hooks", "--id", "crm")
    assert "no response: no connection" in there.run("subscriptions", "test", "crm", code=1).out
    there.run("subscriptions", "disable", "crm")
    assert "It was not sent yet" in there.run("subscriptions", "test", "crm", code=1).err

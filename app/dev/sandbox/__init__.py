"""The sandbox: every handler's simulator behind real HTTP, with faults on demand.

`/{provider}/…` is the provider's API. Under `/_sandbox/{provider}/` a test or a person moves the
provider's side:

| call | does |
|---|---|
| `POST act` | what happens at the provider: `{"do": "create_order", …}`; 400 says why not |
| `POST faults` | what goes wrong with the next calls (see `faults.Fault`); `DELETE faults` forgets them |
| `PUT webhooks` | `{"url", "headers"}`: where webhooks go; `{"url": null}`: nowhere, they are kept |
| `GET webhooks` | takes out the webhooks that wait because no target is set |
| `GET calls` | every call that arrived at the provider, oldest first |

An error is `{"error": "…"}`. `GET /_sandbox` lists the providers.
"""

from __future__ import annotations

from app.dev.sandbox.server import DEFAULT_HOST, DEFAULT_PORT, RESEND_S, Runner, run, start_sandbox

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "RESEND_S", "Runner", "run", "start_sandbox"]

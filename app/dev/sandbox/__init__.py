"""The sandbox: every handler's simulator behind real HTTP, with faults on demand.

`/{provider}/…` is the provider's API. Under `/_sandbox/{provider}/` a test or a person controls
the provider's side:

| call | does |
|---|---|
| `POST act` | performs an action at the provider: `{"do": "create_order", …}`; 400 if it is impossible |
| `POST faults` | injects a fault into the next calls (see `faults.Fault`); `DELETE faults` ends all |
| `PUT webhooks` | `{"url", "headers"}`: sets the target of webhooks; `{"url": null}` holds them |
| `GET webhooks` | takes out the webhooks that are held |
| `GET calls` | lists the calls that arrived at the provider, oldest first |

An error is `{"error": "…"}`. `GET /_sandbox` lists the providers.
"""

from __future__ import annotations

from app.dev.sandbox.server import DEFAULT_HOST, DEFAULT_PORT, RESEND_S, Runner, run, start_sandbox

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "RESEND_S", "Runner", "run", "start_sandbox"]

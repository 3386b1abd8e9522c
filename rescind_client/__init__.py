"""A client of Rescind's API: `Rescind` waits, `AsyncRescind` is for asyncio. Both have every operation, typed."""

from rescind_client import models, problems
from rescind_client.client import AsyncRescind, Rescind
from rescind_client.problem import ConnectionFailed, Problem, RescindError
from rescind_client.stream import AsyncEventStream, EventStream, StreamReset
from rescind_client.transport import Retries
from rescind_client.webhooks import InvalidWebhook, Webhook, verify_webhook

__all__ = [
    "AsyncEventStream",
    "AsyncRescind",
    "ConnectionFailed",
    "EventStream",
    "InvalidWebhook",
    "Problem",
    "Rescind",
    "RescindError",
    "Retries",
    "StreamReset",
    "Webhook",
    "models",
    "problems",
    "verify_webhook",
]

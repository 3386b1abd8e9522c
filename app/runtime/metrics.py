"""The metrics at `/metrics`, with names and units by the conventions of Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

WEBHOOKS = Counter("rescind_webhooks", "Webhook requests by what became of them.", ["endpoint", "status"])
UNAUTHENTIC = Counter("rescind_webhooks_unauthentic", "Webhook requests that failed verification.", ["endpoint"])
REFUSED = Counter("rescind_webhooks_refused", "Webhook requests that were refused, by cause.", ["endpoint", "cause"])
EVENTS = Counter("rescind_events", "Events appended to the log.")
COMMITS = Histogram(
    "rescind_commit_requests", "Requests served by one commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE = Gauge("rescind_queue_requests", "Requests that wait for the writer.")
CANCELLATIONS = Counter("rescind_cancellations", "Cancellations by the state they came to.", ["account", "state"])
DECISIONS = Counter("rescind_decisions", "Decisions of policies by what they came to.", ["policy", "outcome"])
PAUSES = Counter("rescind_pauses", "Pauses and halts by what they stopped.", ["scope"])
CALLS = Counter("rescind_calls", "HTTP calls to providers by outcome.", ["account", "kind", "outcome"])
LANES = Gauge(
    "rescind_lane_open", "1 if the account's lane sends, 0 if it is paused or its breaker is open.", ["account"]
)
REGISTRATIONS_MISSING = Gauge(
    "rescind_registrations_missing", "Topics that the provider does not send, as of the last check.", ["endpoint"]
)
STREAMS = Gauge("rescind_event_streams", "Open streams of events.")
LIMITED = Counter("rescind_rate_limited", "Requests refused with 429, by limit.", ["limit"])
DELIVERIES = Counter(
    "rescind_deliveries", "Tries of deliveries to subscribers by outcome.", ["subscription", "outcome"]
)
DELIVERIES_PENDING = Gauge(
    "rescind_deliveries_pending", "Deliveries that wait to be sent, as of the last minute.", ["subscription"]
)
DELIVERIES_OVERDUE = Gauge(
    "rescind_deliveries_overdue_seconds",
    "How long the longest due delivery has been waiting, as of the last minute.",
    ["subscription"],
)
SUBSCRIPTIONS = Gauge(
    "rescind_subscription_up",
    "1 if the subscription is sent to, 0 if it fails as a whole or is disabled, as of the last minute.",
    ["subscription"],
)
LOG_SEALED = Gauge(
    "rescind_log_sealed_timestamp_seconds", "When every event of the log was last found sealed in the hash chain."
)

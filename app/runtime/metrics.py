"""The metrics at `/metrics`, with names and units by the conventions of Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# Without a second series for every counter and histogram, of when it was created.
disable_created_metrics()  # type: ignore[no-untyped-call]

BUILD = Gauge("rescind_build_info", "1, with the version of Rescind.", ["version"])

# What is late comes first. These gauges are measured when Prometheus asks (`app.web.scrape`).
OVERDUE = Gauge(
    "rescind_lane_overdue_seconds", "How long the longest due cancel or probe of the account waits.", ["account"]
)
TIMERS_OVERDUE = Gauge(
    "rescind_timers_overdue_seconds", "How long the longest due deadline or check of an order waits to be acted on."
)
LIVE = Gauge(
    "rescind_cancellations_live", "Cancellations that are not final, by state; each is counted up to 1000.", ["state"]
)
QUARANTINED = Gauge("rescind_receipts_quarantined", "Webhooks in quarantine, counted up to 1000.")
APPROVALS = Gauge("rescind_approvals_waiting", "Cancellations that wait for approval, counted up to 1000.")
BACKUP = Gauge(
    "rescind_backup_timestamp_seconds",
    "Unix time at which the newest verified backup of this database was begun, 0 if there is none.",
)
INDETERMINATE_OLDEST = Gauge(
    "rescind_cancellations_indeterminate_oldest_seconds",
    "How long ago the call was made whose outcome has been unknown for longest; 0 if there is none.",
)
APPROVALS_OLDEST = Gauge(
    "rescind_approvals_oldest_seconds", "How long the first cancellation waits for approval; 0 if none does."
)
APPROVALS_EXPIRY = Gauge(
    "rescind_approvals_expiry_timestamp_seconds",
    "When the first of the cancellations that wait for approval expires; 0 if none does.",
)
CLOSING = Gauge(
    "rescind_lane_closing_cancels",
    "Cancels that have been due for a minute and cannot be sent any more in 15 minutes; only accounts that have any.",
    ["account"],
)
PAUSED = Gauge(
    "rescind_paused",
    "1 for each scope that is paused; cause: paused (by a person), credentials_refused or policy_halted.",
    ["scope", "cause"],
)
WORKERS_ENDED = Gauge("rescind_workers_ended", "Workers of the server that ended, though none may.")
LOOP_LAG = Histogram(
    "rescind_event_loop_lag_seconds",
    "How long the event loop let a task wait that was due; looked at ten times a second.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
GC_PAUSE = Histogram(
    "rescind_gc_pause_seconds",
    "How long the process stood still while Python collected garbage: generation 0 young objects, 2 all.",
    ["generation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
for _generation in ("0", "1", "2"):
    GC_PAUSE.labels(_generation)  # shown as none where there was none yet
DISK_FREE = Gauge("rescind_disk_free_bytes", "Free space of the file system that the database is on.")
DISK_SIZE = Gauge("rescind_disk_size_bytes", "Size of the file system that the database is on.")
DATABASE_SIZE = Gauge(
    "rescind_database_size_bytes", "Size of the database, its search index and their write-ahead logs."
)
KEY_EXPIRY = Gauge(
    "rescind_api_key_expiry_timestamp_seconds",
    "When an API key expires; only the first 100 of those that do so within 30 days.",
    ["key"],
)

WEBHOOKS = Counter("rescind_webhooks", "Webhook requests by what became of them.", ["endpoint", "status"])
UNAUTHENTIC = Counter("rescind_webhooks_unauthentic", "Webhook requests that failed verification.", ["endpoint"])
REFUSED = Counter("rescind_webhooks_refused", "Webhook requests that were refused, by cause.", ["endpoint", "cause"])
HANDSHAKES = Counter(
    "rescind_webhook_handshakes",
    "Handshakes of senders that were answered, by method and status.",
    ["endpoint", "method", "status"],
)
CONFIRMATIONS = Counter(
    "rescind_webhook_confirmations", "Subscriptions that senders asked to have confirmed.", ["endpoint", "result"]
)
RETIRED = Counter("rescind_webhooks_retired_secret", "Webhook requests that only a former secret proved.", ["endpoint"])
KEY_FETCHES = Counter(
    "rescind_key_ring_fetches",
    "Fetches of public keys of sources; outcome: fetched, refused (no such key, or not one to accept) or failed.",
    ["outcome"],
)
for _outcome in ("fetched", "refused", "failed"):
    KEY_FETCHES.labels(_outcome)  # shown from the start, at 0
KEY_DOCUMENTS = Gauge("rescind_key_ring_documents", "Key sets, certificates and keys of sources that are at hand.")
ENDPOINTS_DOWN = Gauge(
    "rescind_endpoint_down",
    "1 for each endpoint that gets no webhooks; cause: silent (none comes) or failing (all are refused).",
    ["endpoint", "cause"],
)
EVENTS = Counter("rescind_events", "Events appended to the log.")
SEARCH_INDEX_EVENTS = Counter("rescind_search_index_events", "Events that were added to the search index.")
SEARCH_INDEX_BEHIND = Gauge(
    "rescind_search_index_behind_events",
    "Events of the log that are not in the search index yet; they are searched in the log.",
)
ROWS_COMPRESSED = Gauge(
    "rescind_rows_compressed_ratio",
    "Which part of the rows of earlier releases is compressed, 0 to 1, by table; the server does it in the background.",
    ["table"],
)
SEARCH_INDEX_UP = Gauge(
    "rescind_search_index_up", "1 if the search index is open and follows the log, 0 if searches look in the log only."
)
SEARCH_INDEX_ERASING = Gauge(
    "rescind_search_index_erasing", "1 while words of erased content may still be in the files of the search index."
)
COMMITS = Histogram(
    "rescind_commit_requests", "Requests served by one commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
COMMIT_SECONDS = Histogram(
    "rescind_commit_seconds",
    "Duration of one commit to the database.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
UNAVAILABLE = Counter("rescind_store_unavailable", "Commits that failed because the database was not available.")
CONTENTION = Counter("rescind_store_contention", "Commits that were tried again because others wrote the same.")
COMMITS_UNKNOWN = Counter(
    "rescind_commits_unknown", "Commits whose answer was lost, by what had become of them.", ["result"]
)
LOG_DELAY = Gauge(
    "rescind_log_delay_seconds",
    "PostgreSQL: how long the log's followers wait for a transaction that is open, of whatever program; 0 if for none.",
)
NODE_LEASE = Gauge(
    "rescind_node_lease_seconds", "PostgreSQL: how long this node's lease lasts; at 0 it sends nothing. SQLite: NaN."
)
NODE_OWNED = Gauge("rescind_node_owned", "Accounts, subscriptions and tasks that this node works for.", ["kind"])
HOT_ORDERS = Gauge("rescind_hot_orders", "Orders kept in memory, so that a commit need not look them up.")
ORDER_LOOKUPS = Counter(
    "rescind_order_lookups",
    "Names of orders in commits: `hot` led to an order kept in memory, `cold` had to be looked up.",
    ["result"],
)
QUEUE = Gauge("rescind_queue_requests", "Requests that wait for the writer.")
CANCELLATIONS = Counter("rescind_cancellations", "Cancellations by the state they came to.", ["account", "state"])
DECISIONS = Counter("rescind_decisions", "Decisions of policies by what they came to.", ["policy", "outcome"])
PAUSES = Counter("rescind_pauses", "Pauses and halts by what they stopped.", ["scope"])
CALLS = Counter("rescind_calls", "HTTP calls to providers by outcome.", ["account", "kind", "outcome"])
LANES = Gauge(
    "rescind_lane_open", "1 if the account's lane sends, 0 if it is paused or its breaker is open.", ["account"]
)
LANES_CLOSED = Gauge(
    "rescind_lane_closed",
    "1 for each account whose lane does not send; cause: paused, breaker_open or throttled.",
    ["account", "cause"],
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
    "1 if the subscription is sent to, 0 if it fails as a whole or was disabled automatically, as of the last minute.",
    ["subscription"],
)
LOG_SEALED = Gauge(
    "rescind_log_sealed_timestamp_seconds", "When every event of the log was last found sealed in the hash chain."
)

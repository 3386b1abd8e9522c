"""The dashboards of what a server takes in and how it fares."""

from __future__ import annotations

from generator.panels import Dashboard, E, J, Panel, R, count, quantiles

_LAG = "rescind_event_loop_lag_seconds"
_GC = "rescind_gc_pause_seconds"

ON_CALL = Dashboard(
    "rescind",
    "Rescind: on call",
    "What is wrong and what is late. Each panel leads to its runbooks and to the console.",
    (),
    {
        "What needs a person": [
            count(
                "Alerts",
                'count(ALERTS{alertname=~"Rescind.*",alertstate="firing"})',
                "Alerts that fire now.",
            ),
            count(
                "Windows closing",
                f"sum(rescind_lane_closing_cancels{{{J}}})",
                "Due cancels that can be sent for less than 15 minutes.",
                "RescindWindowsClosing",
                console="/cancellations?state=scheduled",
            ),
            count(
                "Lanes closed",
                f"count(rescind_lane_open{{{J}}} == 0)",
                "Accounts for which nothing is sent: paused, throttled or behind an open breaker.",
                "RescindBreakerOpen",
                "RescindCredentialsRefused",
                "RescindLaneThrottled",
                console="/accounts",
            ),
            count(
                "Paused",
                f"count(rescind_paused{{{J}}})",
                "Scopes that are paused: everything, accounts, policies.",
                "RescindSendingPaused",
                "RescindAccountPaused",
                "RescindPolicyHalted",
                console="/",
            ),
            count(
                "Endpoints down",
                f"count(rescind_endpoint_down{{{J}}})",
                "Endpoints that are silent, or refuse all their webhooks.",
                "RescindEndpointSilent",
                "RescindWebhooksRefused",
                console="/endpoints",
            ),
            count(
                "In quarantine",
                f"sum(rescind_receipts_quarantined{{{J}}})",
                "Authentic webhooks that could not be parsed; counted up to 1000.",
                "RescindWebhooksQuarantined",
                "RescindQuarantineGrowing",
                console="/quarantine",
            ),
            count(
                "Approvals",
                f"sum(rescind_approvals_waiting{{{J}}})",
                "Cancels that policies proposed and nobody approved or declined yet.",
                "RescindApprovalsWaiting",
                "RescindApprovalsExpiring",
                console="/cancellations?waiting=approval",
            ),
            count(
                "Subscriptions down",
                f"count(rescind_subscription_up{{{J}}} == 0)",
                "Receivers that fail as a whole, or were disabled automatically.",
                "RescindSubscriptionDown",
                console="/subscriptions",
            ),
        ],
        "What is late": [
            Panel(
                "Longest due cancel or probe",
                "How long the longest due job waits; the ten accounts where it waits longest.",
                "s",
                [(f"topk(10, max by (account) (rescind_lane_overdue_seconds{{{J}}}))", "{{account}}")],
                ["RescindCancelsOverdue", "RescindWindowsClosing"],
                "/accounts",
            ),
            Panel(
                "Deadlines and checks of orders",
                "How late the server acts on what time alone brings about.",
                "s",
                [(f"rescind_timers_overdue_seconds{{{J}}}", "{{instance}}")],
                ["RescindTimersLate"],
            ),
            Panel(
                "Longest due delivery",
                "How long the longest due webhook to a subscriber waits; the ten where it waits longest.",
                "s",
                [(f"topk(10, max by (subscription) (rescind_deliveries_overdue_seconds{{{J}}}))", "{{subscription}}")],
                ["RescindDeliveriesOverdue"],
                "/subscriptions",
            ),
            Panel(
                "Unknown outcomes and approvals",
                "Age of the oldest cancel call whose outcome is not known, and of the first approval that waits.",
                "s",
                [
                    (f"rescind_cancellations_indeterminate_oldest_seconds{{{J}}}", "unknown outcome"),
                    (f"rescind_approvals_oldest_seconds{{{J}}}", "approval"),
                ],
                ["RescindCancelsIndeterminate", "RescindApprovalsWaiting"],
                "/cancellations?state=indeterminate",
            ),
            Panel(
                "Webhooks and calls",
                "What comes in and what is sent to providers.",
                "reqps",
                [
                    (f"sum(rate(rescind_webhooks_total{{{J}}}{R}))", "webhooks"),
                    (f"sum(rate(rescind_calls_total{{{J}}}{R}))", "calls"),
                ],
                ["RescindProviderCallsFailing"],
                "/",
            ),
            Panel(
                "Servers",
                "1 for each server that Prometheus reaches, and the workers that ended.",
                "short",
                [(f"up{{{J}}}", "up: {{instance}}"), (f"rescind_workers_ended{{{J}}}", "ended workers: {{instance}}")],
                ["RescindServerDown", "RescindRestarting", "RescindWorkerEnded"],
            ),
        ],
    },
)

INGEST = Dashboard(
    "rescind-ingest",
    "Rescind: ingest and database",
    "Webhooks in, commits, the event loop, the disk, backups.",
    ("endpoint",),
    {
        "Webhooks in": [
            Panel(
                "Webhooks by status",
                "Authentic webhooks by what became of them.",
                "reqps",
                [(f"sum by (status) (rate(rescind_webhooks_total{{{E}}}{R}))", "{{status}}")],
                ["RescindQuarantineGrowing"],
                "/receipts",
            ),
            Panel(
                "Refused by endpoint and cause",
                "Requests that were not accepted; failed verifications as a line of their own.",
                "reqps",
                [
                    (
                        f"sum by (endpoint, cause) (rate(rescind_webhooks_refused_total{{{E}}}{R}))",
                        "{{endpoint}}: {{cause}}",
                    ),
                    (f"sum(rate(rescind_webhooks_unauthentic_total{{{E}}}{R}))", "not authentic, in all"),
                ],
                ["RescindWebhooksRefused"],
                "/endpoints",
            ),
            Panel(
                "Endpoints down, and former secrets",
                "1 for each endpoint that is silent or failing; webhooks that only a former secret proved.",
                "short",
                [
                    (f"rescind_endpoint_down{{{E}}}", "{{endpoint}}: {{cause}}"),
                    (
                        f"sum by (endpoint) (increase(rescind_webhooks_retired_secret_total{{{E}}}{R}))",
                        "{{endpoint}}: former secret",
                    ),
                ],
                ["RescindEndpointSilent", "RescindRetiredSecretUsed"],
                "/endpoints",
            ),
            Panel(
                "Handshakes",
                "Challenges of senders that were answered, and subscriptions that they asked to have confirmed.",
                "short",
                [
                    (
                        f"sum by (endpoint, status) (increase(rescind_webhook_handshakes_total{{{E}}}{R}))",
                        "{{endpoint}}: {{status}}",
                    ),
                    (
                        f"sum by (endpoint, result) (increase(rescind_webhook_confirmations_total{{{E}}}{R}))",
                        "{{endpoint}}: {{result}}",
                    ),
                ],
                [],
                "/endpoints",
            ),
            Panel(
                "Keys of sources",
                "Fetches of the public keys that sources publish, by what they brought; documents at hand.",
                "short",
                [
                    (f"sum by (outcome) (increase(rescind_key_ring_fetches_total{{{J}}}{R}))", "{{outcome}}"),
                    (f"rescind_key_ring_documents{{{J}}}", "at hand, {{instance}}"),
                ],
                [],
                "/endpoints",
            ),
        ],
        "Database": [
            Panel(
                "Commit duration",
                "One commit serves all requests that wait.",
                "s",
                [
                    *quantiles("rescind_commit_seconds"),
                    (
                        f"rate(rescind_commit_seconds_sum{{{J}}}{R}) / rate(rescind_commit_seconds_count{{{J}}}{R})",
                        "mean",
                    ),
                ],
                ["RescindIngestQueueFilling"],
            ),
            Panel(
                "Requests per commit, and waiting",
                "Many requests per commit are a burst; what waits beyond 4096 gets 503.",
                "short",
                [
                    (
                        f"rate(rescind_commit_requests_sum{{{J}}}{R}) / rate(rescind_commit_requests_count{{{J}}}{R})",
                        "per commit",
                    ),
                    (
                        f"histogram_quantile(0.99, sum by (le) (rate(rescind_commit_requests_bucket{{{J}}}{R})))",
                        "per commit, 99 %",
                    ),
                    (f"rescind_queue_requests{{{J}}}", "waiting"),
                ],
                ["RescindIngestQueueFilling"],
            ),
            Panel(
                "Orders kept in memory",
                "A commit asks the database for orders that are not among them: new ones, and those of long ago.",
                "short",
                [
                    (f"rescind_hot_orders{{{J}}}", "orders"),
                    (f"sum by (result) (rate(rescind_order_lookups_total{{{J}}}{R}))", "{{result}}"),
                ],
                (),
                "/orders",
            ),
            Panel(
                "Events, unavailable commits",
                "Events appended to the log, and commits that failed because the database was not available.",
                "short",
                [
                    (f"sum(rate(rescind_events_total{{{J}}}{R}))", "events per second"),
                    (f"sum(increase(rescind_store_unavailable_total{{{J}}}{R}))", "failed commits"),
                ],
                ["RescindDatabaseUnavailable"],
                "/events",
            ),
            Panel(
                "Disk",
                "Free space of the database's file system, and what the database takes.",
                "bytes",
                [
                    (f"rescind_disk_free_bytes{{{J}}}", "free"),
                    (f"rescind_disk_size_bytes{{{J}}}", "size"),
                    (f"rescind_database_size_bytes{{{J}}}", "database"),
                ],
                ["RescindDiskFull", "RescindDiskFilling"],
            ),
            Panel(
                "Age of the seal and of the backup",
                "Time since every event was last found sealed in the hash chain, and since the newest backup.",
                "s",
                [
                    (f"time() - (rescind_log_sealed_timestamp_seconds{{{J}}} > 0)", "seal"),
                    (f"time() - (rescind_backup_timestamp_seconds{{{J}}} > 0)", "backup"),
                ],
                ["RescindLogNotSealed", "RescindBackupOld", "RescindBackupMissing"],
            ),
            Panel(
                "Search index",
                "Events it is behind the log, events added, whether it can be used, and whether it erases; beside it, "
                "which part of the rows of earlier releases is compressed.",
                "short",
                [
                    (f"rescind_search_index_behind_events{{{J}}}", "behind"),
                    (f"rate(rescind_search_index_events_total{{{J}}}{R})", "added per second"),
                    (f"rescind_search_index_up{{{J}}}", "up"),
                    (f"rescind_search_index_erasing{{{J}}}", "erasing"),
                    (f"rescind_rows_compressed_ratio{{{J}}}", "{{table}} compressed"),
                ],
                ["RescindSearchIndexDown", "RescindErasedWordsStay"],
            ),
            Panel(
                "Lease and delay of the log (PostgreSQL)",
                "How long each node's lease lasts, and how long those who follow the log wait for an open transaction.",
                "s",
                [
                    (f"rescind_node_lease_seconds{{{J}}}", "lease: {{instance}}"),
                    (f"rescind_log_delay_seconds{{{J}}}", "delay: {{instance}}"),
                ],
                ["RescindDatabaseUnavailable"],
            ),
            Panel(
                "Nodes beside each other (PostgreSQL)",
                "What each node works for, commits that were done again, and what had become of those whose answer was "
                "lost.",
                "short",
                [
                    (f"rescind_node_owned{{{J}}}", "{{kind}}s: {{instance}}"),
                    (f"rate(rescind_store_contention_total{{{J}}}{R})", "done again: {{instance}}"),
                    (f"increase(rescind_commits_unknown_total{{{J}}}{R})", "answer lost, {{result}}: {{instance}}"),
                ],
                ["RescindDatabaseUnavailable"],
            ),
        ],
        "Process": [
            Panel(
                "Lag of the event loop",
                "How long a task that is due has to wait: so long waits whoever comes.",
                "s",
                [
                    *quantiles(_LAG),
                    (f"rate({_LAG}_sum{{{J}}}{R}) / rate({_LAG}_count{{{J}}}{R})", "mean"),
                ],
                ["RescindEventLoopLag"],
            ),
            Panel(
                "Garbage collection",
                "How long the process stands still for each collection, and the share of time that all of them take.",
                "s",
                [
                    *quantiles(_GC),
                    (f"sum(rate({_GC}_sum{{{J}}}{R})) / sum(rate({_GC}_count{{{J}}}{R}))", "mean"),
                    (f"sum(rate({_GC}_sum{{{J}}}{R}))", "share of time"),
                ],
                ["RescindEventLoopLag"],
            ),
            Panel(
                "Processor and memory",
                "Processors in use (1 is one processor, all that the event loop can use), and resident memory.",
                "short",
                [
                    (f"rate(process_cpu_seconds_total{{{J}}}{R})", "processors: {{instance}}"),
                    (f"process_resident_memory_bytes{{{J}}} / 1e9", "memory in GB: {{instance}}"),
                ],
                ["RescindEventLoopLag", "RescindRestarting"],
            ),
            Panel(
                "Streams, refusals, keys",
                "Open streams of events, requests refused with 429, days until API keys expire.",
                "short",
                [
                    (f"rescind_event_streams{{{J}}}", "streams"),
                    (f"sum by (limit) (rate(rescind_rate_limited_total{{{J}}}{R}))", "refused: {{limit}}"),
                    (
                        f"(rescind_api_key_expiry_timestamp_seconds{{{J}}} - time()) / 86400",
                        "days of key {{key}}",
                    ),
                ],
                ["RescindKeyExpiring"],
                "/keys",
            ),
        ],
    },
)

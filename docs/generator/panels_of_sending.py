"""The dashboards of what is sent to providers and subscribers."""

from __future__ import annotations

from generator.panels import A, Dashboard, E, J, Panel, R, S

_FAILED = f'sum by (account) (rate(rescind_calls_total{{{A},outcome=~"retry|indeterminate|unauthorized"}}{R}))'

LANES = Dashboard(
    "rescind-lanes",
    "Rescind: lanes and providers",
    "Cancels on their way: calls, lanes, policies, outcomes.",
    ("account", "endpoint"),
    {
        "Calls": [
            Panel(
                "Calls by outcome",
                "HTTP calls to providers.",
                "reqps",
                [(f"sum by (kind, outcome) (rate(rescind_calls_total{{{A}}}{R}))", "{{kind}}: {{outcome}}")],
                ["RescindProviderCallsFailing"],
                "/accounts",
            ),
            Panel(
                "Failing calls by account",
                "Share of calls that were retried, had an unknown outcome or met refused credentials; the worst ten.",
                "percentunit",
                [
                    (f"topk(10, {_FAILED} / sum by (account) (rate(rescind_calls_total{{{A}}}{R})))", "{{account}}"),
                ],
                ["RescindProviderCallsFailing", "RescindBreakerOpen", "RescindCredentialsRefused"],
                "/accounts",
            ),
            Panel(
                "Registrations missing",
                "Topics that providers do not send, as of the last check.",
                "short",
                [(f"rescind_registrations_missing{{{E}}}", "{{endpoint}}")],
                ["RescindRegistrationsMissing"],
                "/endpoints",
            ),
        ],
        "Lanes": [
            Panel(
                "Closed lanes",
                "1 for each account that nothing is sent for, with the cause; and what is paused.",
                "short",
                [
                    (f"rescind_lane_closed{{{A}}}", "{{account}}: {{cause}}"),
                    (f"rescind_paused{{{J}}}", "paused: {{scope}}"),
                ],
                ["RescindBreakerOpen", "RescindLaneThrottled", "RescindAccountPaused", "RescindSendingPaused"],
                "/accounts",
            ),
            Panel(
                "Longest due cancel or probe",
                "How long the longest due job of an account waits; the ten that wait longest.",
                "s",
                [(f"topk(10, max by (account) (rescind_lane_overdue_seconds{{{A}}}))", "{{account}}")],
                ["RescindCancelsOverdue"],
                "/accounts",
            ),
            Panel(
                "Windows closing",
                "Due cancels that can be sent for less than 15 minutes.",
                "short",
                [(f"rescind_lane_closing_cancels{{{A}}}", "{{account}}")],
                ["RescindWindowsClosing"],
                "/cancellations?state=scheduled",
            ),
        ],
        "Cancellations and policies": [
            Panel(
                "Cancellations by the state they came to",
                "Steps of cancellations within an interval.",
                "short",
                [(f"sum by (state) (increase(rescind_cancellations_total{{{A}}}{R}))", "{{state}}")],
                ["RescindCancelsExpired"],
                "/cancellations",
            ),
            Panel(
                "Not final, by state",
                "Cancellations that are under way; each state is counted up to 1000.",
                "short",
                [(f"rescind_cancellations_live{{{J}}}", "{{state}}")],
                ["RescindCancelsIndeterminate"],
                "/cancellations",
            ),
            Panel(
                "Decisions of policies, and pauses",
                "Decisions by what they came to, and how often sending was paused.",
                "short",
                [
                    (
                        f"sum by (policy, outcome) (increase(rescind_decisions_total{{{J}}}{R}))",
                        "{{policy}}: {{outcome}}",
                    ),
                    (f"sum by (scope) (increase(rescind_pauses_total{{{J}}}{R}))", "paused: {{scope}}"),
                ],
                ["RescindPolicyFailing", "RescindPolicyHalted"],
                "/policies",
            ),
            Panel(
                "Approvals",
                "Hours until the first cancel that waits for approval expires, and how many wait.",
                "short",
                [
                    (
                        f"((rescind_approvals_expiry_timestamp_seconds{{{J}}} > 0) - time()) / 3600",
                        "hours to the first expiry",
                    ),
                    (f"rescind_approvals_waiting{{{J}}}", "waiting"),
                ],
                ["RescindApprovalsWaiting", "RescindApprovalsExpiring"],
                "/cancellations?waiting=approval",
            ),
        ],
    },
)

DELIVERIES = Dashboard(
    "rescind-deliveries",
    "Rescind: deliveries",
    "Webhooks to subscribers.",
    ("subscription",),
    {
        "Deliveries": [
            Panel(
                "Tries by outcome",
                "Tries of deliveries, each subscription by itself.",
                "reqps",
                [
                    (
                        f"sum by (subscription, outcome) (rate(rescind_deliveries_total{{{S}}}{R}))",
                        "{{subscription}}: {{outcome}}",
                    )
                ],
                ["RescindSubscriptionDown"],
                "/subscriptions",
                width=12,
            ),
            Panel(
                "Pending",
                "Deliveries that wait to be sent, as of the last minute.",
                "short",
                [(f"rescind_deliveries_pending{{{S}}}", "{{subscription}}")],
                ["RescindDeliveriesOverdue"],
                "/subscriptions",
                width=12,
            ),
            Panel(
                "Longest due",
                "How long the longest due delivery has been waiting, as of the last minute.",
                "s",
                [(f"rescind_deliveries_overdue_seconds{{{S}}}", "{{subscription}}")],
                ["RescindDeliveriesOverdue"],
                "/subscriptions",
                width=12,
            ),
            Panel(
                "Up",
                "1 if the subscription is sent to, 0 if it fails as a whole or was disabled automatically.",
                "short",
                [(f"rescind_subscription_up{{{S}}}", "{{subscription}}")],
                ["RescindSubscriptionDown"],
                "/subscriptions",
                width=12,
            ),
        ]
    },
)

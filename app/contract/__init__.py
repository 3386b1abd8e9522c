"""What a handler sees of Rescind, and Rescind of a handler.

Everything here is data or the shape of a function. A handler imports this module and
``app.kit``, and nothing else of the application: it performs no I/O, reads no
clock and draws no random numbers. It talks to its provider by *flows*: generators that yield
`HttpRequest` and are sent the `HttpResponse`.

Times are aware datetimes in UTC; only what a handler has just read may be less certain (`ParsedEvent`).
Durations are floats named ``…_s`` (seconds).
"""

from __future__ import annotations

from app.contract.events import RESERVED_EVENT_PREFIXES, OpenEnum, Source
from app.contract.handler import (
    UNDOCUMENTED,
    BaseConfig,
    Handler,
    InvalidCancel,
    Limits,
    Rules,
    SignsTime,
    Simulator,
    check_path,
    check_url,
)
from app.contract.handshake import HandshakeResponse, PostHandshakes
from app.contract.inbound import (
    Ignored,
    InboundRequest,
    MalformedPayload,
    Parsed,
    ParsedEvent,
    Unrecognized,
    VerificationCause,
    VerificationError,
    VerifyOptions,
)
from app.contract.knowledge import (
    Appointment,
    Cancelable,
    Facts,
    Order,
    Phase,
    Verdict,
)
from app.contract.outbound import (
    NEVER,
    Authorize,
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Flow,
    HttpRequest,
    HttpResponse,
    ProbeUnavailable,
    Registration,
    RegistrationFailed,
    RegistrationWithSecret,
)
from app.contract.published_keys import KeyRef, KeySource, KeyUnavailable, PublishedKeys
from app.contract.setup import Setup, SetupField
from app.contract.zones import zone_of

__all__ = [
    "NEVER",
    "RESERVED_EVENT_PREFIXES",
    "UNDOCUMENTED",
    "Appointment",
    "Authorize",
    "BaseConfig",
    "CancelOutcome",
    "CancelRequest",
    "CancelResult",
    "Cancelable",
    "Context",
    "Facts",
    "Flow",
    "Handler",
    "HandshakeResponse",
    "HttpRequest",
    "HttpResponse",
    "Ignored",
    "InboundRequest",
    "InvalidCancel",
    "KeyRef",
    "KeySource",
    "KeyUnavailable",
    "Limits",
    "MalformedPayload",
    "OpenEnum",
    "Order",
    "Parsed",
    "ParsedEvent",
    "Phase",
    "PostHandshakes",
    "ProbeUnavailable",
    "PublishedKeys",
    "Registration",
    "RegistrationFailed",
    "RegistrationWithSecret",
    "Rules",
    "Setup",
    "SetupField",
    "SignsTime",
    "Simulator",
    "Source",
    "Unrecognized",
    "Verdict",
    "VerificationCause",
    "VerificationError",
    "VerifyOptions",
    "check_path",
    "check_url",
    "zone_of",
]

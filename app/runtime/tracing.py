"""Traces by OpenTelemetry: an extra (`rescind[otel]`), which is off by default, and is not imported then.

Code that makes spans asks `on` first, so that nothing is paid while it is off. A trace survives the database: what a
commit leaves for later (a cancellation, a message) is stored with the context of its cause, as `traceparent` says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from app import __version__

on = False
"""Whether spans are made."""
to_providers = False
"""Whether calls to providers carry the context."""
_tracer: Any = None
_provider: Any = None
_propagator: Any = None

SERVER, CLIENT, INTERNAL = "SERVER", "CLIENT", "INTERNAL"


class TracingUnavailableError(Exception):
    """The packages that tracing needs are not installed."""


def set_up(*, providers: bool) -> None:
    """Export spans by OTLP, as the variables OTEL_… say. Raises `TracingUnavailableError`."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TracingUnavailableError(
            "RESCIND_TRACING needs packages that are not installed: pip install 'rescind[otel]'"
        ) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
    resource = Resource({"service.name": "rescind", "service.version": __version__}).merge(Resource.create())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider, providers=providers)


def use(provider: Any, *, providers: bool = False) -> None:
    """Make spans with this provider."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    global on, to_providers, _tracer, _provider, _propagator
    _provider, _tracer = provider, provider.get_tracer("rescind", __version__)
    _propagator, to_providers, on = TraceContextTextMapPropagator(), providers, True


def shut_down() -> None:
    """Export what is left, and make no more spans."""
    global on  # noqa: PLW0603 - one per process, as logging
    if on:
        on = False
        _provider.shutdown()


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    others: Sequence[str] = (),
    kind: str = INTERNAL,
    attributes: Mapping[str, Any] = {},
) -> Iterator[None]:
    """A span around a block, which is the current one within it.

    Args:
        name: of few values.
        parent: the context that it continues, as `traceparent`; None: the current span, if there is one.
        others: further contexts that it continues: of other orders in the same call.
        kind: `SERVER`, `CLIENT` or `INTERNAL`.
        attributes: those that have a value are set.
    """
    from opentelemetry.trace import Link, SpanKind, get_current_span  # noqa: PLC0415 - loaded when it is on

    links = [Link(get_current_span(_context(other)).get_span_context()) for other in others]
    given = {key: value for key, value in attributes.items() if value is not None}
    context = None if parent is None else _context(parent)
    with _tracer.start_as_current_span(name, context, kind=SpanKind[kind], attributes=given, links=links):
        yield


def named(about: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes under the names that Rescind's have: `rescind.…`."""
    return {f"rescind.{name}": value for name, value in about.items()}


def annotate(**attributes: Any) -> None:
    """Set attributes `rescind.…` of the current span; None is left out."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - loaded when it is on

    current = get_current_span()
    for name, value in named(attributes).items():
        if value is not None:
            current.set_attribute(name, value)


def headers() -> dict[str, str]:
    """The headers that carry the context of the current span."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def traceparent() -> str | None:
    """The context of the current span; None outside of one."""
    return headers().get("traceparent")


def ids() -> dict[str, str]:
    """The ids of the current span, for log lines."""
    parts = (traceparent() or "").split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) > 2 else {}  # noqa: PLR2004 - as W3C says


def _context(traceparent: str) -> Any:
    return _propagator.extract({"traceparent": traceparent})

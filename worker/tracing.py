"""FRONT DESK: spans of OpenTelemetry, where it is installed and asked for. Knows no stage by name.

    SDK --traceparent header--> API --Entry.traceparent--> worker
                                span(), around a request   record(), a stage that is over
                                     `------------------------- `---> OTLP over HTTP, in batches

Off by default: then nothing is imported and a span costs nothing. What goes into a span may be
read by whoever reads traces: ids, codes and hosts, never a URL, a key or bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

HEADER = "traceparent"
"""Name of the header, and of the entry's field, that says which span caused this (W3C)."""
NANOSECONDS = 1_000_000_000

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


class TracingUnusable(Exception):
    """Traces are asked for and cannot be made; the message says what to install."""


class Tracing:
    """Makes spans, or nothing at all if it was given no provider."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("pinclip") if provider else None

    @contextmanager
    def span(self, name: str, *, parent: str | None = None) -> Iterator[dict[str, str | int]]:
        """A span around the block, below `parent`; what is put into the dict is its attributes.

        An exception marks it as failed, without the exception's text, and passes through.
        """
        attributes: dict[str, str | int] = {}
        if self._tracer is None:
            yield attributes
            return
        span = self._tracer.start_span(name, context=_context(parent))
        token = _current.set(_header(span))
        try:
            yield attributes
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            _current.reset(token)
            span.set_attributes(attributes)
            span.end()

    def record(
        self,
        name: str,
        *,
        parent: str | None,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int],
    ) -> None:
        """Tell of something that is over, from one Unix time to another, below `parent`."""
        if self._tracer is None or not parent:
            return
        span = self._tracer.start_span(
            name, context=_context(parent), start_time=int(began * NANOSECONDS)
        )
        span.set_attributes(dict(attributes))
        span.end(int(ended * NANOSECONDS))

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider is not None:
            self._provider.shutdown()


def to(endpoint: str, *, component: str) -> Tracing:
    """Return what sends spans to an OTLP/HTTP address, such as http://127.0.0.1:4318/v1/traces.

    An empty address is none. Raises TracingUnusable where the extra is not installed.
    """
    if not endpoint:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnusable(
            f"PINCLIP_TRACE_ENDPOINT is set, and {error.name} is not installed: "
            "pip install 'pinclip[otel]', or unset it."
        ) from error
    provider = TracerProvider(resource=Resource({"service.name": f"pinclip-{component}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return Tracing(provider)


def current() -> str | None:
    """Return the header of the span that runs now, for an entry to carry; None if there is none."""
    return _current.get()


def _context(parent: str | None) -> Context:
    """Return where a span belongs; what is no traceparent starts a trace of its own."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent} if parent else {})


def _header(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _fail(span: Span, kind: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, kind))

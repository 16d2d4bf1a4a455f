"""Spans from the SDK to the worker hang together, say nothing secret, and are off by default."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from sdk._tracing import traceparent
from worker import tracing
from worker.tracing import Tracing

CANARY = "c4n4ry"


class Spans:
    """A real provider whose spans stay in memory."""

    def __init__(self) -> None:
        sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs pinclip[otel]")
        export = pytest.importorskip("opentelemetry.sdk.trace.export")
        memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
        self._memory = memory.InMemorySpanExporter()
        self.provider = sdk.TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(export.SimpleSpanProcessor(self._memory))

    def named(self, name: str) -> Any:
        (span,) = [span for span in self._memory.get_finished_spans() if span.name == name]
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def test_a_scan_is_one_trace_from_the_caller_to_the_worker(spans: Spans) -> None:
    api, worker = Tracing(spans.provider), Tracing(spans.provider)

    with spans.provider.get_tracer("caller").start_as_current_span("caller"):
        header = traceparent()
    with api.span("POST /v1/scans", parent=header) as attributes:
        attributes["http.response.status_code"] = 202
        carried = tracing.current()
    worker.record("fetch", parent=carried, began=10.0, ended=10.5, attributes={"scan_id": "s"})

    caller, request, fetch = map(spans.named, ("caller", "POST /v1/scans", "fetch"))
    assert request.parent.span_id == caller.context.span_id
    assert fetch.parent.span_id == request.context.span_id
    assert {span.context.trace_id for span in (request, fetch)} == {caller.context.trace_id}
    assert request.attributes["http.response.status_code"] == 202
    assert (fetch.start_time, fetch.end_time) == (10_000_000_000, 10_500_000_000)


def test_outside_of_a_span_there_is_no_header(spans: Spans) -> None:
    assert traceparent() is None
    assert tracing.current() is None


@pytest.mark.parametrize("header", [None, "", "rubbish", "00-zz-zz-01", "00-" + "0" * 32 + "-1-01"])
def test_what_is_no_traceparent_starts_a_trace_of_its_own(spans: Spans, header: str | None) -> None:
    with Tracing(spans.provider).span("request", parent=header):
        pass

    assert spans.named("request").parent is None


def test_a_failure_is_marked_without_its_text(spans: Spans) -> None:
    with (
        pytest.raises(ValueError, match=CANARY),
        Tracing(spans.provider).span("request"),
    ):
        raise ValueError(CANARY)

    span = spans.named("request")
    assert span.status.description == "ValueError"
    assert CANARY not in span.to_json()


def test_without_an_address_nothing_is_made_and_nothing_is_imported() -> None:
    code = (
        "import sys\n"
        "from worker import tracing\n"
        "made = tracing.to('', component='api')\n"
        "with made.span('request') as attributes:\n"
        "    attributes['a'] = 1\n"
        "    assert tracing.current() is None\n"
        "made.record('fetch', parent='00-' + '1' * 32 + '-' + '1' * 16 + '-01', began=0.0,"
        " ended=1.0, attributes={})\n"
        "made.close()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_address_without_the_extra_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry.sdk'] = None\n"
        "from worker import tracing\n"
        "try:\n"
        "    tracing.to('http://127.0.0.1:4318/v1/traces', component='api')\n"
        "except tracing.TracingUnusable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )

    assert "pip install 'pinclip[otel]'" in done.stdout

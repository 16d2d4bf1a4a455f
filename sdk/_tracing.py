"""The span that a caller of the SDK is in, as the traceparent header (W3C) has it.

Imports nothing: who has a span has imported OpenTelemetry, so it is looked for where it then is.
"""

from __future__ import annotations

import sys
from typing import Any

HEADER = "traceparent"


def traceparent() -> str | None:
    """Return the header's value; None without OpenTelemetry, or outside of every span."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"

"""FRONT DESK: how a process logs, and what no log line may hold. Knows no event by name.

    structlog, and stdlib loggers (rq, uvicorn, redis)
        -> level, time, component -> traceback as text, without locals -> redact -> one line
                                                                         JSON; coloured on a tty

One line is one JSON object on stderr. Redaction is the last step before rendering, so nothing
that another step added escapes it. It removes the value of any key that names a secret, and
from any text: bearer and webhook secrets, `user:password@`, and the query of a URL.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

HIDDEN = "***"
"""What stands where a secret stood."""

_SECRET_WORDS = frozenset(
    {
        "authorization",
        "auth",
        "token",
        "cookie",
        "key",
        "apikey",
        "secret",
        "password",
        "credentials",
    }
)
_SECRETS_IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b([sp]k)_[A-Za-z0-9]{8,}"), rf"\1_{HIDDEN}"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]+"), f"whsec_{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?<=://)[^\s/?#@\"']+@"), f"{HIDDEN}@"),
    (
        re.compile(r"(?i)((?:\b[a-z][a-z0-9+.-]*:/|(?<![^\s\"'(]))/[^\s?#\"'<>]*)\?[^\s#\"'<>]*"),
        rf"\1?{HIDDEN}",
    ),
    (
        re.compile(
            r"(?i)\b((?:set-)?cookie|(?:proxy-)?authorization|api[_-]?key|token|secret|password)"
            r"(['\"]?\s*[:=]\s*['\"]?)(?!\*\*\*)[^\s'\",;}&]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
)
_NOISY = ("rq.worker", "rq.job", "rq.queue", "httpx", "httpcore")
"""Loggers that tell of each request or ticket: heard from `warning` on."""


def setup(level: str, component: str) -> None:
    """Every logger of this process writes to stderr, from `level` on, redacted."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_component(component),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder([]), *shared],
            processors=_last_steps(is_terminal=sys.stderr.isatty()),
        )
    )
    _take_over(handler, level.upper())


def redact(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """Return the event without secrets; a structlog processor."""
    return {name: _clean(value, under=name) for name, value in event.items()}


def _last_steps(*, is_terminal: bool) -> list[Processor]:
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    )
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,  # Plain text: it shows no locals.
        redact,
        renderer,
    ]


def _add_component(component: str) -> Processor:
    def add(
        _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["component"] = component
        return event

    return add


def _take_over(handler: logging.Handler, level: str) -> None:
    """Make `handler` the only one of the process, whatever libraries set up for themselves."""
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def _clean(value: object, *, under: str = "") -> object:
    if _names_a_secret(under) and value is not None:
        return HIDDEN
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(name): _clean(item, under=str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _clean_text(repr(value))


def _names_a_secret(name: str) -> bool:
    return not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def _clean_text(text: str) -> str:
    for pattern, instead in _SECRETS_IN_TEXT:
        text = pattern.sub(instead, text)
    return text

"""What a process logs, and what no line of it may hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from worker.log import HIDDEN, redact

ROOT = Path(__file__).parent.parent.parent
CANARY = "c4n4ry"


def _run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a process that has set up its log."""
    start = (
        "import logging, structlog, warnings\nfrom worker import log\nlog.setup('info', 'test')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _lines(code: str) -> list[dict[str, object]]:
    done = _run(code)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_log_writes_one_json_object_a_line_on_stderr() -> None:
    (line,) = _lines("structlog.get_logger().info('scan_completed', scan_id='scan_1', n=3)")

    assert line.pop("timestamp")
    assert line == {
        "event": "scan_completed",
        "scan_id": "scan_1",
        "n": 3,
        "level": "info",
        "component": "test",
    }


def test_log_keeps_to_the_level() -> None:
    assert _lines("structlog.get_logger().debug('x'); logging.getLogger('x').debug('y')") == []


def test_log_takes_the_lines_of_libraries() -> None:
    lines = _lines(
        "logging.getLogger('uvicorn.error').info('started on %s', 'http://h.test/?a=1')\n"
        "logging.getLogger('rq.worker').info('chatter')\n"
        "logging.getLogger('rq.worker').warning('trouble')\n"
        "warnings.warn('old')"
    )

    events = [str(line["event"]) for line in lines]
    assert events[:2] == [f"started on http://h.test/?{HIDDEN}", "trouble"]
    assert "UserWarning: old" in events[2]
    assert {line["component"] for line in lines} == {"test"}


def test_log_takes_over_handlers_that_a_library_set_up_before() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import logging, sys\n"
            "early = logging.getLogger('uvicorn'); early.addHandler(logging.StreamHandler())\n"
            "early.propagate = False\n"
            "from worker import log; log.setup('info', 'test')\n"
            "early.info('once')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["once"]


def test_log_shows_a_traceback_without_locals() -> None:
    (line,) = _lines(
        f"""
def fetch(secret_url):
    raise ValueError('no answer')
try:
    fetch('{CANARY}')
except ValueError:
    structlog.get_logger().exception('scan_broke')
"""
    )

    assert "ValueError: no answer" in str(line["exception"])
    assert "in fetch" in str(line["exception"])
    assert CANARY not in json.dumps(line)


def test_log_holds_no_secret_however_it_is_said() -> None:
    done = _run(
        f"""
import sys
url = 'https://user:{CANARY}@h.test/a.png?signature={CANARY}#x'
say = structlog.get_logger().bind(api_key='{CANARY}')
say.info('bound', url=url, headers={{'Authorization': 'Bearer {CANARY}', 'Set-Cookie': '{CANARY}'}})
say.info(f'in the event {{url}}', nested=[{{'token': '{CANARY}', 'deep': (url,)}}])
say.info('webhook', secret_name='whsec_{CANARY}', note='signed with whsec_{CANARY}')
say.info('bytes', body=b'{CANARY}', thing=type('T', (), {{'__repr__': lambda s: url}})())
logging.getLogger('httpx').warning('GET %s', url)
access = logging.getLogger('uvicorn.access')
access.info('%s - "%s %s HTTP/1.1" %d', 'peer', 'GET', '/v1/scans?key={CANARY}', 200)
logging.getLogger('any').warning('Authorization: Basic {CANARY}{CANARY}, cookie=sid{CANARY}')
other = logging.getLogger('any')
other.warning('redis://:{CANARY}@h.test:6379/0 refused', extra={{'password': '{CANARY}'}})
try:
    raise RuntimeError(f'cannot reach {{url}}')
except RuntimeError as error:
    say.exception('broke', why=error)
    logging.getLogger('any').exception('broke too')
"""
    )

    assert done.returncode == 0
    assert done.stderr.count("\n") == 10
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("http://h.test/a.png?x=1", f"http://h.test/a.png?{HIDDEN}"),
        ("http://h.test/a.png?x=1#part", f"http://h.test/a.png?{HIDDEN}#part"),
        ("two http://a.test/?q=1 and http://b.test/?q=2", None),
        ("http://h.test/a.png", "http://h.test/a.png"),
        ("is it ready? yes", "is it ready? yes"),
        ("ftp://user:pw@h.test/x", f"ftp://{HIDDEN}@h.test/x"),
        ("mail me@h.test", "mail me@h.test"),
        ("unix:///tmp/v.sock", "unix:///tmp/v.sock"),
        ("token: abc", f"token: {HIDDEN}"),
        ("a tokenizer", "a tokenizer"),
    ],
)
def test_redact_takes_from_text_only_what_is_secret(text: str, kept: str | None) -> None:
    event = redact(None, "info", {"event": text})["event"]

    assert event == (kept or f"two http://a.test/?{HIDDEN} and http://b.test/?{HIDDEN}")


@pytest.mark.parametrize(
    ("name", "is_hidden"),
    [
        ("authorization", True),
        ("X-Api-Key", True),
        ("refresh_token", True),
        ("Set-Cookie", True),
        ("client_secret", True),
        ("password", True),
        ("scan_id", False),
        ("monkey", False),
        ("keyboard", False),
    ],
)
def test_redact_hides_what_a_name_calls_secret(name: str, is_hidden: bool) -> None:
    assert redact(None, "info", {name: "x"})[name] == (HIDDEN if is_hidden else "x")


def test_redact_keeps_values_that_are_no_text() -> None:
    event = {"n": 1, "rate": 0.5, "is_so": True, "none": None, "list": [1, {"a": 2}]}

    assert redact(None, "info", event) == event

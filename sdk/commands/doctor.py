"""`pinclip doctor`: finds out why asking a server does not work, and says what to do about it.

    settings -> network -> server -> encryption -> clock -> key -> parts -> worker -> a new picture
       each a Finding: ok | warning | failed | skipped, what was found, what to do

Each step is asked only if those that it needs are well. The picture is drawn anew, so that a
worker has to score it, and its scan is erased. Changes nothing else.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from sdk._calls import get
from sdk._client import Client
from sdk._clock import Clock
from sdk.environment import SettingsError
from sdk.errors import APITLSError, PinclipError
from sdk.settings import ClientSettings, read
from sdk.webhooks import TOLERANCE_SECONDS
from sdk.wire import Health, KeyFacts, Problem, Scan, Scope

from .exits import MEANINGS, Exit, exit_of
from .shell import asking, attempt
from .words import WORDS, encoded, printable, sentence

if TYPE_CHECKING:
    from sdk._transport import Answer

TIMEOUT_SECONDS = 10.0
CHECK_SECONDS = 60.0
SKEW_SECONDS = 30.0
"""How far two clocks may be apart before it is worth a word."""
SIDE_PIXELS = 256
BLOCK_PIXELS = 32
STATUSES = {
    Exit.DONE: "all is well; there may be warnings",
    Exit.USAGE: "the arguments cannot be used",
    Exit.AUTH: MEANINGS[Exit.AUTH],
    Exit.SCAN_FAILED: "the picture could not be judged",
    Exit.SERVER: "the server cannot be reached, is not pinclip, or a part of it is down",
    Exit.TIMEOUT: f"no verdict within {CHECK_SECONDS:g} s",
}


class State(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at: how it is, in plain words, and what to do if it is not well."""

    name: str
    state: State
    text: str
    hint: str = ""
    exit: Exit = Exit.DONE
    """The exit status, if this is what failed first."""


def main(argv: Sequence[str]) -> int:
    """Look at everything between here and a verdict, say what was found, return the status."""
    options = _parser().parse_args(argv)
    return attempt(lambda: _run(options))


def examine(
    base_url: str | None = None,
    *,
    wall_time: Callable[[], float] = time.time,  # noqa: TID251 - the clock is what is looked at
) -> Iterator[Finding]:
    """Yield what is found, in the order of need; what depends on a failure is skipped.

    `wall_time` is the Unix time of this machine.
    """
    try:
        settings = read(base_url=base_url)
    except SettingsError as error:
        yield _failed("settings", " ".join(error.faults), exit=Exit.AUTH)
        return
    key = "with a key" if settings.api_key else "without a key"
    yield _ok("settings", f"pinclip {_version()} asks {_shown(settings.base_url)}, {key}")
    yield _network(settings)
    answer = _ask(settings, "/healthz")
    server = _server(settings, answer)
    yield server
    if isinstance(answer, Exception) or server.state is State.FAILED:
        yield _skipped("key, worker and check", "the server has to be reached first")
        return
    yield _encryption(settings)
    yield _clock(answer, now=wall_time())
    yield from _inside(settings)


def verdict(findings: Sequence[Finding]) -> Exit:
    """Return the exit status: that of the first failure, or DONE."""
    return next((one.exit for one in findings if one.state is State.FAILED), Exit.DONE)


def new_picture() -> bytes:
    """Return a PNG of coloured squares that no server has seen before."""
    count = SIDE_PIXELS // BLOCK_PIXELS
    rows = []
    for _ in range(count):
        colours = os.urandom(3 * count)
        pixels = (colours[i : i + 3] * BLOCK_PIXELS for i in range(0, 3 * count, 3))
        rows += [b"\0" + b"".join(pixels)] * BLOCK_PIXELS
    head = struct.pack(">IIBBBBB", SIDE_PIXELS, SIDE_PIXELS, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _run(options: argparse.Namespace) -> Exit:
    findings = []
    for finding in examine(options.base_url):
        findings.append(finding)
        if not options.json:
            sys.stdout.write(_line(finding))
            sys.stdout.flush()
    exit = verdict(findings)
    if options.json:
        told = [{**msgspec.structs.asdict(one), "exit": int(one.exit)} for one in findings]
        sys.stdout.write(encoded({"ok": exit is Exit.DONE, "findings": told}) + "\n")
    return exit


def _line(finding: Finding) -> str:
    todo = f" {finding.hint}" if finding.hint else ""
    stop = "" if finding.text.endswith((".", "!", "?")) else "."
    return printable(f"{finding.state:<8} {finding.name}: {finding.text}{stop}{todo}") + "\n"


# What is looked at from here.


def _network(settings: ClientSettings) -> Finding:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(settings.base_url)
    host, proxy = parts.hostname or "", getproxies().get(parts.scheme) or getproxies().get("all")
    if _is_loopback(settings):
        return _ok("network", "the server is on this machine, so no proxy is used")
    if not proxy:
        return _ok("network", "no proxy is set")
    if proxy_bypass(host):
        return _ok("network", f"a proxy is set, and NO_PROXY leaves {host} out")
    return _ok("network", f"requests go through the proxy {_shown(proxy)}")


def _ask(settings: ClientSettings, path: str) -> Answer | Exception:
    """Return what comes back from a path, whatever its status, or why nothing does."""
    from sdk._transport import Plan, Transport

    try:
        plan = Plan(settings, timeout=TIMEOUT_SECONDS, max_retries=0)
        call, transport = get(path, Health), Transport(plan, clock=Clock(), http=None)
    except SettingsError as error:
        return error
    try:
        return transport.look(call)
    finally:
        transport.close()


def _server(settings: ClientSettings, answer: Answer | Exception) -> Finding:
    shown = _shown(settings.base_url)
    if isinstance(answer, APITLSError):
        return _error("encryption", answer)
    if isinstance(answer, Exception):
        return _error("server", answer)
    if _read(answer, Health) or _read(answer, Problem):
        return _ok("server", f"{shown} answers, and is pinclip")
    return _failed(
        "server",
        f"{shown} answers {answer.status}, but not as pinclip does",
        hint="A proxy or another program is there: correct PINCLIP_BASE_URL.",
        exit=Exit.SERVER,
    )


def _encryption(settings: ClientSettings) -> Finding:
    if settings.base_url.lower().startswith("https:"):
        return _ok("encryption", "TLS, and the certificate is trusted here")
    if _is_loopback(settings) or not settings.api_key:
        return _ok("encryption", "none, and there is no key that could be read on the way")
    return Finding(
        name="encryption",
        state=State.WARNING,
        text="none: whoever is between here and the server can read the key",
        hint="Put TLS before the server and set PINCLIP_BASE_URL to its https address.",
    )


def _clock(answer: Answer, *, now: float) -> Finding:
    try:
        skew = now - parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return _skipped("clock", "the server does not say what time it is")
    if abs(skew) <= SKEW_SECONDS:
        return _ok("clock", "as the server's")
    way = "ahead of" if skew > 0 else "behind"
    return Finding(
        name="clock",
        state=State.WARNING,
        text=f"{abs(skew):.0f} s {way} the server's; webhook deliveries are taken for replayed "
        f"from {TOLERANCE_SECONDS:g} s on",
        hint="Have both set by NTP.",
    )


# What the server says of itself, and of the key.


def _inside(settings: ClientSettings) -> Iterator[Finding]:
    with Client(settings.api_key, settings.base_url, timeout=TIMEOUT_SECONDS) as client:
        key = _tried("key", lambda: _key(client.key()))
        yield key
        parts = list(_parts(_ask(settings, "/readyz")))
        yield from parts
        down = next((one.name for one in (key, *parts) if one.state is State.FAILED), None)
        if down:
            yield _skipped("check", f"{down} has to be well first")
        else:
            yield _tried("check", lambda: _check(client))


def _key(facts: KeyFacts) -> Finding:
    if facts.id is None:
        return _ok("key", "none is needed: the server takes callers of its own machine without one")
    scopes = ", ".join(facts.scopes) or "nothing"
    text = f"{facts.id} of {facts.owner} may: {scopes}"
    if facts.expires_at:
        text += f"; it expires {facts.expires_at}"
    if {Scope.SCAN, Scope.ADMIN} & set(facts.scopes):
        return _ok("key", text)
    return _failed(
        "key", text, hint="Use a key with the scope `scan`: `pinclip keys create`.", exit=Exit.AUTH
    )


def _parts(answer: Answer | Exception) -> Iterator[Finding]:
    if isinstance(answer, Exception):
        yield _error("parts", answer)
        return
    health = _read(answer, Health)
    if health is None:
        yield _skipped("parts", "the server does not show them here")
        return
    for name, facts in health.checks.items():
        yield _part(name, facts)


def _part(name: str, facts: Any) -> Finding:
    facts = facts if isinstance(facts, dict) else {}
    if not facts.get("ok"):
        why = str(facts.get("detail") or facts.get("error") or "down")
        return _failed(name, why, hint=_PARTS.get(name, _LOG), exit=Exit.SERVER)
    workers = facts.get("workers")
    if not isinstance(workers, list):
        return _ok(name, "well")
    told = {
        f"{one.get('model')} on {one.get('device')} ({one.get('engine')}, {one.get('precision')})"
        for one in workers
        if isinstance(one, dict)
    }
    return _ok(name, f"{len(workers)} alive: {'; '.join(sorted(told))}")


_LOG = "Read the server's log."
_PARTS = {
    "worker": "Start one with `pinclip work`, or wait if it is loading its model; read its log.",
    "redis": "Start Redis, and set REDIS_URL of the server to it; `pinclip up` brings its own.",
    "store": "See that the server's database runs and its disk has room; read the server's log.",
}


def _check(client: Client) -> Finding:
    began = time.monotonic()
    scan = client.check(new_picture(), wait=CHECK_SECONDS)
    took = time.monotonic() - began
    words = WORDS[scan.verdict] if scan.verdict else "none"
    text = f"a new picture had a verdict ({words}) in {took:.1f} s"
    return _ok("check", f"{text}; {_erased(client, scan)}")


def _erased(client: Client, scan: Scan) -> str:
    try:
        client.scans.delete(scan.id)
    except PinclipError as error:
        return f"its scan {scan.id} stays on record ({error.code})"
    return "its scan is erased again"


def _tried(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except PinclipError as error:
        return _error(name, error)


# How findings are made.


def _ok(name: str, text: str) -> Finding:
    return Finding(name=name, state=State.OK, text=text)


def _skipped(name: str, text: str) -> Finding:
    return Finding(name=name, state=State.SKIPPED, text=text)


def _failed(name: str, text: str, *, exit: Exit, hint: str = "") -> Finding:
    return Finding(name=name, state=State.FAILED, text=text, hint=hint, exit=exit)


def _error(name: str, error: Exception) -> Finding:
    if isinstance(error, PinclipError):
        return _failed(name, error.message, hint=error.hint, exit=exit_of(error))
    return _failed(name, sentence(error), exit=exit_of(error))


S = TypeVar("S", Health, Problem)


def _read(answer: Answer, kind: type[S]) -> S | None:
    """Return the body as a struct, or None if it is none."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _shown(url: str) -> str:
    """Return an address without the name and password that may stand in it."""
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
    except ValueError:
        return "(an address that cannot be read)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _is_loopback(settings: ClientSettings) -> bool:
    from sdk._transport import Plan

    return not Plan(settings, timeout=TIMEOUT_SECONDS, max_retries=0).http["trust_env"]


def _version() -> str:
    try:
        return version("pinclip")
    except PackageNotFoundError:  # the sources are used without being installed
        return "from source"


def _parser() -> argparse.ArgumentParser:
    parser = asking(
        "doctor",
        "Find out whether images can be checked from here, and what to do if not: settings,\n"
        "network, server, key, worker, and one new picture that is judged and erased again.",
        STATUSES,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser

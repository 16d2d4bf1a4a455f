"""Callers of the API: threads, each with one kept connection, as cheap as Python has them.

    with Caller(port) as caller:
        caller.scan(url)                         the final scan and the seconds it took
    load(port, 32, urls)                         32 callers share the addresses; all their answers

The SDK does the same with more comfort; here the machine must be left to what is measured.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

WAIT = {"Content-Type": "application/json", "Prefer": "wait=30"}
BYTES = "application/octet-stream"
FINAL = frozenset({"completed", "failed", "canceled"})

LATER = frozenset({429, 503})
PATIENCE_SECONDS = 120.0

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A final scan, how long its caller waited, and when the answer came (monotonic).

    `refused` counts how often the server first asked to come back later.
    """

    scan: dict[str, Any]
    seconds: float
    at: float
    refused: int


class Caller:
    """One connection to the API on loopback."""

    def __init__(self, port: int) -> None:
        self.refused = 0
        """How often it was asked to come back later."""
        self._later = 0.0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the JSON of one answer; raises OSError or HTTPException."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if headers is None else dict(headers)
        self._connection.request(method, path, body=data, headers=sent)
        answer = self._connection.getresponse()
        self._later = float(answer.headers.get("Retry-After", 0))
        read = answer.read()
        return answer.status, json.loads(read) if read else None

    def send(self, path: str, data: bytes, content_type: str) -> tuple[int, Any]:
        """Return the status and the JSON that answer these bytes."""
        self._connection.request("POST", path, body=data, headers={"Content-Type": content_type})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def upload(self, data: bytes) -> str:
        """Return the id under which the API keeps these bytes."""
        return str(self.send("/v1/uploads", data, BYTES)[1]["id"])

    def submit(self, url: str) -> dict[str, Any]:
        """Return the scan as accepted; raises RuntimeError if it is refused for good."""
        return self._sure("POST", "/v1/scans", {"url": url})

    def scan(self, url: str) -> Answer:
        """Return the final scan of an image; raises RuntimeError if it is refused for good."""
        began, before = time.monotonic(), self.refused
        scan = self._sure("POST", "/v1/scans", {"url": url}, WAIT)
        while scan["status"] not in FINAL:
            scan = self._sure("GET", f"/v1/scans/{scan['id']}", None, WAIT)
        ended = time.monotonic()
        return Answer(scan=scan, seconds=ended - began, at=ended, refused=self.refused - before)

    def _sure(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the scan, asked for again while the server says that it may be later."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, answer = self.ask(method, path, body, headers)
            if status in (200, 202):
                return dict(answer)
            if status not in LATER or time.monotonic() > until:
                raise RuntimeError(f"the API answered {status}: {answer}")
            self.refused += 1
            self._connection.close()  # the server would, in the meantime
            time.sleep(self._later * random.uniform(0.5, 1.5))  # not all at the same moment


def load(port: int, callers: int, urls: Iterable[str]) -> list[Answer]:
    """Return the final scans of all addresses, shared by so many callers."""
    return shared(port, callers, urls, Caller.scan)


def shared(port: int, callers: int, items: Iterable[T], ask: Callable[[Caller, T], A]) -> list[A]:
    """Return what `ask` returned for each item, shared by so many callers; raises what it did."""
    left, lock = iter(items), threading.Lock()
    answers: list[A] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Caller(port) as caller:
                while not failures:
                    with lock:
                        item = next(left, None)
                    if item is None:
                        return
                    answers.append(ask(caller, item))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return answers

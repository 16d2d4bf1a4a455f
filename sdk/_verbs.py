"""The verbs of a client itself: check, submit, wait, get, lookup, key; its parts below it.

    check = submitted + waited, and once more with the caller's bytes where the URL is forbidden

        |<------------------------- wait ------------------------->|
        POST (held for the verdict) ... GET (held) ... GET (held) .. ScanTimeout

Each is written once, see _flows; what a list of inputs needs beyond is in _many.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import _calls as calls
from ._appeals import Appeals
from ._batches import Batches
from ._endpoints import Webhooks
from ._feedback import Words
from ._flows import Ask, Face, Flow, M, Mode, Pause, Work, send, verb
from ._models import Models
from ._scans import Scans
from .errors import (
    BYTES_HELP,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    InputError,
    PinclipError,
    ScanFailed,
    ScanTimeout,
)
from .wire import (
    HashRange,
    KeyFacts,
    Lookup,
    LookupList,
    LookupRequest,
    PointName,
    Priority,
    Scan,
    ScanRequest,
)

LOOKUP_LIMIT = 100
"""Most sha256 that one request may have."""
PREFIX_DIGITS = 5
"""How many digits of a sha256 a private look-up gives away."""

BytesOf = Callable[[str], bytes | Awaitable[bytes]]
"""Returns the bytes of a URL that the caller can get."""


class Terms(NamedTuple):
    """How a scan is asked for, whatever of."""

    point: PointName
    priority: Priority
    fresh: bool
    context: dict[str, str]
    metadata: dict[str, str]
    idempotency_key: str | None = None
    callback_url: str | None = None

    def request(self, **image: str) -> ScanRequest:
        """Return the request for one image: its url, or its upload_id."""
        if self.callback_url is not None:
            image["callback_url"] = self.callback_url
        return ScanRequest(
            operating_point=self.point,
            priority=self.priority,
            context=self.context,
            metadata=self.metadata,
            **image,
        )


def terms(
    mode: Mode,
    *,
    operating_point: PointName | str | None,
    priority: Priority | str,
    fresh: bool,
    context: Mapping[str, str] | None,
    metadata: Mapping[str, str] | None,
    idempotency_key: str | None = None,
    callback_url: str | None = None,
) -> Terms:
    """Return what was asked for if it can be sent; raises InputError."""
    return Terms(
        point=calls.point(operating_point or mode.point),
        priority=calls.priority(priority),
        fresh=fresh,
        context=calls.words(context, name="context"),
        metadata=calls.words(metadata, name="metadata"),
        idempotency_key=idempotency_key,
        callback_url=callback_url,
    )


class Verbs(Face[M]):
    """What Client and AsyncClient can do."""

    @property
    def scans(self) -> Scans[M]:
        """Scans that were made: list, follow, cancel, erase, look again, receipts."""
        return Scans(self._mode)

    @property
    def batches(self) -> Batches[M]:
        """Up to 1,000 URLs in one request, judged when there is time."""
        return Batches(self._mode)

    @property
    def appeals(self) -> Appeals[M]:
        """Disputes about verdicts."""
        return Appeals(self._mode)

    @property
    def feedback(self) -> Words[M]:
        """What people say that images are; it decides nothing."""
        return Words(self._mode)

    @property
    def webhooks(self) -> Webhooks[M]:
        """Where events are delivered, and how to read a delivery."""
        return Webhooks(self._mode)

    @property
    def models(self) -> Models[M]:
        """The models that score now."""
        return Models(self._mode)

    @verb
    def check(
        self,
        x: str | Path | bytes,
        *,
        wait: float = 20,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.INTERACTIVE,
        fresh: bool = False,
        context: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        bytes_of: BytesOf | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Scan]:
        """Return a finished scan of a URL, a file or bytes: one that has a verdict.

        `wait` is in seconds and for everything: upload, retries, verdict. `fresh` has the image
        judged again though it is known. `context` (platform, item_id) and `metadata` come back
        with the scan and its events. `bytes_of(url)` is called where the server may not fetch
        the URL, and returns the bytes that you can get, with your own login perhaps; the SDK
        itself fetches nothing. An `idempotency_key` of your own keeps one scan to one URL though
        your program is started anew; a retry within one call has one in any case.

        Raises ScanTimeout if there is no verdict in time: `wait(error.scan_id)` takes it up
        again. ScanFailed if there never will be one. InputError or OSError if `x` cannot be
        sent or `bytes_of` fails, APIError if the server cannot be asked.

        Examples:
            >>> scan = client.check("https://example.org/picture.jpg", wait=10)
            >>> scan.verdict
            <Verdict.LIKELY_AI: 'likely_ai'>
        """
        asked = terms(
            self._mode,
            operating_point=operating_point,
            priority=priority,
            fresh=fresh,
            context=context,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
        return (yield from checked(self._mode, x, asked=asked, wait=wait, bytes_of=bytes_of))

    @verb
    def submit(
        self,
        x: str | Path | bytes,
        *,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.INTERACTIVE,
        fresh: bool = False,
        context: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Scan]:
        """Return the scan as accepted, most often still queued.

        Say `priority="bulk"` where nobody waits for it: the scans of people then go first. The
        `callback_url` is told when the scan is final, signed with `webhooks.callback_secret()`.
        The rest is as for `check`. Raises InputError, OSError or APIError.

        Examples:
            >>> scan = client.submit("https://example.org/picture.jpg", priority="bulk")
            >>> client.wait(scan).status
            <Status.COMPLETED: 'completed'>
        """
        asked = terms(
            self._mode,
            operating_point=operating_point,
            priority=priority,
            fresh=fresh,
            context=context,
            metadata=metadata,
            callback_url=callback_url,
            idempotency_key=idempotency_key,
        )
        return (yield from submitted(x, asked=asked))

    @verb
    def wait(self, scan: Scan | str, *, timeout: float = 60) -> Flow[Scan]:
        """Return the scan, or the one of this id, once it has a verdict.

        Raises ScanTimeout within `timeout` seconds, which leaves the scan as it is; ScanFailed;
        APIError.

        Examples:
            >>> client.wait(scan.id, timeout=30).verdict
            <Verdict.LIKELY_AI: 'likely_ai'>
        """
        until = calls.deadline(self._mode.clock.monotonic(), timeout)
        return (yield from waited(self._mode, scan, until=until, timeout=timeout))

    @verb
    def get(self, scan_id: str) -> calls.Call[Scan]:
        """Return the scan as it is now, whatever its status. Raises InputError or APIError.

        Examples:
            >>> client.get(scan.id).status
            <Status.COMPLETED: 'completed'>
        """
        return calls.scan(scan_id)

    @verb
    def lookup(
        self,
        x: bytes | Path | str,
        *,
        operating_point: PointName | str | None = None,
        private: bool = False,
    ) -> Flow[Lookup]:
        """Return what is known of an image, without sending it: of bytes, a file or a sha256.

        Its `verdict` is None where nothing is known. With `private` the server learns five
        digits of the sha256 and not which image is meant. Raises InputError, OSError, APIError.

        Examples:
            >>> client.lookup(b"never seen").verdict is None
            True
        """
        point = calls.point(operating_point or self._mode.point)
        (found,) = yield from looked_up([x], point=point, private=private)
        return found

    @verb
    def lookup_many(
        self,
        xs: Iterable[bytes | Path | str],
        *,
        operating_point: PointName | str | None = None,
        private: bool = False,
    ) -> Flow[tuple[Lookup, ...]]:
        """Return what is known of many images, in their order; a request for each 100.

        With `private`, a request for each. Raises InputError, OSError or APIError.

        Examples:
            >>> [found.verdict for found in client.lookup_many([b"one", b"two"])]
            [None, None]
        """
        point = calls.point(operating_point or self._mode.point)
        return (yield from looked_up(xs, point=point, private=private))

    @verb
    def key(self) -> calls.Call[KeyFacts]:
        """Return what the key of this client may do. Raises APIError.

        Examples:
            >>> client.key().owner
            'local'
        """
        return calls.get("/v1/key", KeyFacts)


def checked(
    mode: Mode,
    x: str | Path | bytes,
    *,
    asked: Terms,
    wait: float,
    bytes_of: BytesOf | None,
) -> Flow[Scan]:
    """Return a finished scan within `wait` seconds, of the caller's bytes if need be."""
    until = calls.deadline(mode.clock.monotonic(), wait)
    try:
        return (yield from _checked(mode, x, asked=asked, until=until, wait=wait))
    except (ScanFailed, APIStatusError) as error:
        if error.code not in BYTES_HELP or bytes_of is None or not isinstance(x, str):
            raise
    data = yield from _caller_bytes(bytes_of, x)
    asked = asked._replace(idempotency_key=None)
    return (yield from _checked(mode, data, asked=asked, until=until, wait=wait))


def _caller_bytes(bytes_of: BytesOf, url: str) -> Flow[bytes]:
    """Return what the caller's function can get; its own failure is an InputError or OSError."""
    try:
        return calls.image((yield Ask(bytes_of, url)), name="What bytes_of returned")
    except (PinclipError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"bytes_of failed: {type(error).__name__}: {error}",
            hint="Return the bytes of the image, or raise OSError if you cannot get it.",
        ) from error


def _checked(
    mode: Mode, x: str | Path | bytes, *, asked: Terms, until: float, wait: float
) -> Flow[Scan]:
    now = mode.clock.monotonic
    scan = yield from submitted(x, asked=asked, until=until, now=now)
    if not scan.status.is_final and calls.pause(started=0, now=now(), until=until) is None:
        raise ScanTimeout(scan, timeout=wait)
    return (yield from waited(mode, scan, until=until, timeout=wait))


def submitted(
    x: str | Path | bytes,
    *,
    asked: Terms,
    until: float | None = None,
    now: Callable[[], float] | None = None,
) -> Flow[Scan]:
    """Return the scan as accepted; with an end to the caller's time, as it is when that comes."""
    image = calls.source(x)
    limit = None if until is None or now is None else max(until, now() + calls.SHORTEST_SECONDS)
    if isinstance(image, str):
        request = asked.request(url=image)
    else:
        if asked.idempotency_key is not None:
            raise InputError(
                "An idempotency_key was given for bytes, which are another upload each time.",
                hint="Leave it out, or pass a URL.",
            )
        data = (yield Work(partial(calls.load, image))) if isinstance(image, Path) else image
        upload = yield from send(calls.upload(data).by(limit))
        request = asked.request(upload_id=upload.id)
    hold = 0 if until is None or now is None else calls.hold(until - now())
    call = calls.submit(
        request, fresh=asked.fresh, idempotency_key=asked.idempotency_key, wait_seconds=hold
    )
    return (yield from send(call.by(limit)))


def waited(mode: Mode, scan: Scan | str, *, until: float, timeout: float) -> Flow[Scan]:
    """Return the scan once it has a verdict; raises ScanTimeout at `until`, or ScanFailed."""
    if isinstance(scan, Scan) and scan.status.is_final:
        return calls.finished(scan)
    scan_id, now = calls.scan_id(scan), mode.clock.monotonic
    limit = max(until, now() + calls.SHORTEST_SECONDS)
    latest = scan if isinstance(scan, Scan) else None
    while True:
        started = now()
        look = calls.scan(scan_id, wait_seconds=calls.hold(until - started))
        try:
            latest = yield from send(look.by(limit))
        except APITimeoutError as error:
            if latest is None or now() < limit:
                raise
            raise ScanTimeout(latest, timeout=timeout) from error
        if latest.status.is_final:
            return calls.finished(latest)
        pause = calls.pause(started=started, now=now(), until=until)
        if pause is None:
            raise ScanTimeout(latest, timeout=timeout)
        yield Pause(pause)


def looked_up(
    xs: Iterable[bytes | Path | str], *, point: PointName, private: bool
) -> Flow[tuple[Lookup, ...]]:
    """Return what is known of each, in their order."""
    digests: list[str] = []
    for x in xs:
        digests.append((yield Work(partial(calls.digest, x))))
    found: list[Lookup] = []
    if private:
        for digest in digests:
            found.append((yield from _looked_around(digest, point)))
        return tuple(found)
    for start in range(0, len(digests), LOOKUP_LIMIT):
        asked = LookupRequest(
            sha256=tuple(digests[start : start + LOOKUP_LIMIT]), operating_point=point
        )
        answer = yield from send(calls.post("/v1/lookups", LookupList, asked))
        if tuple(one.sha256 for one in answer.data) != asked.sha256:
            raise APIResponseValidationError(
                "POST /v1/lookups was answered about other images than were asked for.",
                hint="Update the server.",
            )
        found += answer.data
    return tuple(found)


def _looked_around(digest: str, point: PointName) -> Flow[Lookup]:
    path = f"/v1/lookups/range/{digest[:PREFIX_DIGITS]}"
    near = yield from send(calls.get(path, HashRange, operating_point=point))
    return next((one for one in near.data if one.sha256 == digest), Lookup(sha256=digest))

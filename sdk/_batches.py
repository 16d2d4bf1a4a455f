"""client.batches: many URLs in one request. See _flows for how verbs are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from . import _calls as calls
from ._calls import Call
from ._flows import Emit, Face, Flow, Line, M, Mode, Open, Pause, Stream, send, stream, verb
from .errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    BatchTimeout,
    InputError,
)
from .wire import Batch, BatchRequest, BatchResult, BatchStatus, PointName, ScanRequest

BATCH_LIMIT = 1000
"""Most scans of one batch."""
POLL_SECONDS = 2.0
"""Time between two looks at a batch."""
READ_LIMIT = 3
"""How often results are read, should the connection break."""
_decoder = msgspec.json.Decoder(BatchResult)


class Batches(Face[M]):
    """Up to 1,000 URLs in one request."""

    @verb
    def create(
        self,
        items: Iterable[str | ScanRequest],
        *,
        operating_point: PointName | str | None = None,
        callback_url: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Batch]:
        """Have 1 to 1,000 URLs judged when there is time; return the batch as accepted.

        An item may be a ScanRequest, with its own operating point, context and metadata. What
        cannot be accepted is refused by itself, in `results`. The `callback_url` is told when all
        are final. Raises InputError or APIError.

        Examples:
            >>> batch = client.batches.create(["https://example.org/picture.jpg"])
            >>> batch.counts.total
            1
        """
        point = calls.point(operating_point or self._mode.point)
        request = BatchRequest(
            scans=_requests(items, point=point),
            callback_url=msgspec.UNSET if callback_url is None else callback_url,
            metadata=calls.words(metadata, name="metadata"),
        )
        return calls.post("/v1/batches", Batch, request, idempotency_key=idempotency_key)

    @verb
    def get(self, batch_id: str) -> Call[Batch]:
        """Return how far a batch is. Raises InputError or APIError.

        Examples:
            >>> client.batches.get(batch.id).metadata
            {}
        """
        return calls.get(_path(batch_id), Batch)

    @verb
    def wait(self, batch: Batch | str, *, timeout: float = 600) -> Flow[Batch]:
        """Return the batch once all of it is final.

        Raises BatchTimeout within `timeout` seconds, which leaves the batch as it is; APIError.

        Examples:
            >>> client.batches.wait(batch).status
            <BatchStatus.COMPLETED: 'completed'>
        """
        until = calls.deadline(self._mode.clock.monotonic(), timeout)
        return (yield from _completed(self._mode, batch, until=until, timeout=timeout))

    @verb
    def cancel(self, batch: Batch | str) -> Call[Batch]:
        """End what of a batch is not final, and return it. Raises InputError or APIError.

        Examples:
            >>> client.batches.cancel(batch).counts.waiting
            0
        """
        return calls.post(f"{_path(_id(batch))}/cancel", Batch)

    @stream
    def results(self, batch: Batch | str) -> Stream[BatchResult]:
        """Iterate over what came of each item, in their order, final or not.

        Each has a `scan`, or a `problem` that says why there is none. Raises APIError.

        Examples:
            >>> for result in client.batches.results(batch):
            ...     if result.problem is not None:
            ...         print(result.index, result.problem.code)
            ...     else:
            ...         print(result.index, result.scan.verdict)
            0 likely_ai
        """
        after, reads = -1, 0
        while True:
            reads += 1
            yield Open(Call("GET", f"{_path(_id(batch))}/results", calls.NOTHING, headers=_NDJSON))
            try:
                while (line := (yield Line())) is not None:
                    result = _result(line)
                    if result is not None and result.index > after:
                        after = result.index
                        yield Emit(result)
                return
            except APIConnectionError:
                if reads == READ_LIMIT:
                    raise


_NDJSON = {"Accept": "application/x-ndjson"}


def _completed(mode: Mode, batch: Batch | str, *, until: float, timeout: float) -> Flow[Batch]:
    """Return the batch once it is complete; raises BatchTimeout at `until`."""
    now, look = mode.clock.monotonic, calls.get(_path(_id(batch)), Batch)
    limit = max(until, now() + calls.SHORTEST_SECONDS)
    latest = batch if isinstance(batch, Batch) else None
    while True:
        try:
            latest = yield from send(look.by(limit))
        except APITimeoutError as error:
            if latest is None or now() < limit:
                raise
            raise BatchTimeout(latest, timeout=timeout) from error
        if latest.status is BatchStatus.COMPLETED:
            return latest
        left = until - calls.LAST_LOOK_SECONDS - now()
        if left <= 0:
            raise BatchTimeout(latest, timeout=timeout)
        yield Pause(min(POLL_SECONDS, left))


def _requests(items: Iterable[str | ScanRequest], *, point: PointName) -> tuple[ScanRequest, ...]:
    if isinstance(items, str):
        raise InputError("A batch is of several URLs.", hint=f"Pass a list: [{items[:60]!r}].")
    requests = calls.urls(items, point=point)
    if not 1 <= len(requests) <= BATCH_LIMIT:
        raise InputError(
            f"The batch has {len(requests)} items.",
            hint=f"Pass 1 to {BATCH_LIMIT}, or use `check_many`, which takes any number.",
        )
    return requests


def _result(line: bytes) -> BatchResult | None:
    if not line.strip():
        return None
    try:
        return _decoder.decode(line)
    except calls.UNREADABLE as fault:
        raise APIResponseValidationError(
            f"A line of the batch's results cannot be read: {fault}.",
            hint="The server may be newer or older than this client: update both.",
        ) from fault


def _id(batch: Batch | str) -> str:
    return batch.id if isinstance(batch, Batch) else batch


def _path(batch_id: str) -> str:
    return f"/v1/batches/{calls.segment(batch_id, 'batch')}"

"""Client and AsyncClient: the same names, the same arguments, the same errors.

    Client -- Verbs[Blocking] --\
                                 }-- check, submit, wait, get, lookup, ... scans, batches, ...
    AsyncClient -- Verbs[Waiting] --/

What they can do is in _verbs and written once; here is how each is opened and closed, and what
threads and tasks do differently. httpx is imported with the first client, since that takes longer
than all the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from . import _calls as calls
from ._clock import Clock
from ._flows import Blocking, RawBlocking, RawWaiting, Waiting
from ._many import Checked, X, in_tasks, in_threads, need_many, need_room, patient
from ._verbs import BytesOf, Verbs, terms
from .settings import read
from .wire import PointName, Priority, Scan

if TYPE_CHECKING:
    from ._transport import AsyncHttp, SyncHttp


class Client(Verbs[Blocking]):
    """Checks images, and blocks meanwhile. Safe to share between threads; close it when done.

    Not to be shared with a process that is forked: make one there. With a client that asked
    before, both would read from the same connections, and each might get the other's answers.

    api_key and base_url default to PINCLIP_API_KEY and PINCLIP_BASE_URL. `timeout` is in seconds
    for each step of a request; one that asks the server to hold its answer has that time on top.
    `max_retries` counts further tries after trouble that may pass. An `http_client` (an
    httpx.Client) is used as it is, and left open. Raises SettingsError.

    Examples:
        >>> with sdk.Client(operating_point="strict") as strict:
        ...     strict.check("https://example.org/picture.jpg").operating_point.name
        <PointName.STRICT: 'strict'>
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = 30,
        max_retries: int = 2,
        http_client: SyncHttp | None = None,
        operating_point: PointName | str = PointName.BALANCED,
        _clock: Clock | None = None,
    ) -> None:
        from ._transport import Plan, Transport

        point, clock = calls.point(operating_point), _clock or Clock()
        settings = read(api_key=api_key, base_url=base_url)
        plan = Plan(settings, timeout=timeout, max_retries=max_retries)
        transport = Transport(plan, clock=clock, http=http_client)
        super().__init__(Blocking(transport, clock=clock, point=point))

    @property
    def with_raw_response(self) -> Verbs[RawBlocking]:
        """The same verbs, each returning a Raw: status, headers, request_id, and parse().

        Of several requests, that of the last. Lists and streams are not there. A verb raises what
        it raises else, and InputError where it needed no request.

        Examples:
            >>> raw = client.with_raw_response.get(scan.id)
            >>> raw.status, raw.parse().id == scan.id
            (200, True)
        """
        mode = self._mode
        return Verbs(RawBlocking(mode.transport, clock=mode.clock, point=mode.point))

    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        operating_point: PointName | str | None = None,
    ) -> Client:
        """Return a client with these in place of its own, over the same connections.

        To close it leaves them open; to close this one closes them for both. Raises InputError.

        Examples:
            >>> patient = client.with_options(timeout=120, max_retries=5)
            >>> patient.get(scan.id).id == scan.id
            True
        """
        mode = self._mode
        other = Client.__new__(Client)
        other._mode = Blocking(
            mode.transport.changed(timeout=timeout, max_retries=max_retries),
            clock=mode.clock,
            point=calls.point(operating_point or mode.point),
        )
        return other

    def check_many(
        self,
        items: Iterable[X],
        *,
        concurrency: int = 8,
        wait: float = 20,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.BULK,
        fresh: bool = False,
        context: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        bytes_of: BytesOf | None = None,
    ) -> Generator[Checked[X], None, None]:
        """Iterate over Checked (item, result, index), as they finish; `result` may be an error.

        At most `concurrency` are under way, and `items` is read no further than that ahead, in
        this thread. The rest is as for `check`, each item on its own; but where the server asks
        to come back later, within two minutes, an item waits and does not fail. Once the key is
        refused, every item left has that error. To close the iterator ends the work. Raises
        InputError for arguments that cannot be.

        Examples:
            >>> for one in client.check_many(["https://example.org/picture.jpg", "?"]):
            ...     match one.result:
            ...         case sdk.Scan() as scan:
            ...             print(one.item, scan.verdict)
            ...         case error:
            ...             print(one.item, error.code)
            ? input_invalid
            https://example.org/picture.jpg likely_ai
        """
        need_room(concurrency)
        need_many(items)
        asked = terms(
            self._mode,
            operating_point=operating_point,
            priority=priority,
            fresh=fresh,
            context=context,
            metadata=metadata,
        )

        def check(item: X) -> Scan:
            flow = patient(self._mode, item, asked=asked, wait=wait, bytes_of=bytes_of)
            return self._mode.run(flow)

        return in_threads(items, check, concurrency=concurrency)

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._mode.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(Verbs[Waiting]):
    """Checks images from an asyncio event loop, which goes on meanwhile. Otherwise as Client.

    One client belongs to one event loop. Files are read in a thread. An `http_client` is an
    httpx.AsyncClient.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = 30,
        max_retries: int = 2,
        http_client: AsyncHttp | None = None,
        operating_point: PointName | str = PointName.BALANCED,
        _clock: Clock | None = None,
    ) -> None:
        from ._transport import AsyncTransport, Plan

        point, clock = calls.point(operating_point), _clock or Clock()
        settings = read(api_key=api_key, base_url=base_url)
        plan = Plan(settings, timeout=timeout, max_retries=max_retries)
        transport = AsyncTransport(plan, clock=clock, http=http_client)
        super().__init__(Waiting(transport, clock=clock, point=point))

    @property
    def with_raw_response(self) -> Verbs[RawWaiting]:
        """The same verbs, each returning a Raw; see Client.with_raw_response."""
        mode = self._mode
        return Verbs(RawWaiting(mode.transport, clock=mode.clock, point=mode.point))

    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        operating_point: PointName | str | None = None,
    ) -> AsyncClient:
        """Return a client with these over the same connections; see Client.with_options."""
        mode = self._mode
        other = AsyncClient.__new__(AsyncClient)
        other._mode = Waiting(
            mode.transport.changed(timeout=timeout, max_retries=max_retries),
            clock=mode.clock,
            point=calls.point(operating_point or mode.point),
        )
        return other

    def check_many(
        self,
        items: Iterable[X] | AsyncIterable[X],
        *,
        concurrency: int = 8,
        wait: float = 20,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.BULK,
        fresh: bool = False,
        context: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        bytes_of: BytesOf | None = None,
    ) -> AsyncGenerator[Checked[X], None]:
        """Iterate over Checked(item, result, position), as they finish; see Client.check_many.

        `items` may be asynchronous as well. To leave the loop early, close the iterator, by
        contextlib.aclosing: that cancels what is under way.
        """
        need_room(concurrency)
        need_many(items)
        asked = terms(
            self._mode,
            operating_point=operating_point,
            priority=priority,
            fresh=fresh,
            context=context,
            metadata=metadata,
        )

        async def check(item: X) -> Scan:
            flow = patient(self._mode, item, asked=asked, wait=wait, bytes_of=bytes_of)
            return await self._mode.run(flow)

        return in_tasks(items, check, concurrency=concurrency)

    async def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._mode.transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

"""How a verb is written once and offered by both clients.

    @verb                                    Client.get       (scan_id) -> Scan
    def get(self, scan_id) -> Call[Scan]     AsyncClient.get  (scan_id) -> Coroutine -> Scan
                                             raw faces        ... -> Raw[Scan]

A verb returns one Call; or is a flow, a generator that yields what is to be done (a Call, a
Pause, ...), is sent what came of it, and returns the result. A listing goes from page to page, a
stream yields Emit for each item. None of them does I/O: a mode does, blocking or in an event
loop, and the two modes are all that is written twice. Knows no verb.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import aclosing, closing
from functools import wraps
from inspect import isawaitable
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from ._calls import Call
from .errors import APIResponseValidationError, InputError

if TYPE_CHECKING:
    from ._clock import Clock
    from ._transport import Answer, AsyncLines, AsyncTransport, Lines, Transport
    from .wire import PointName

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class Pause(NamedTuple):
    """Let this many seconds pass."""

    seconds: float


class Work(NamedTuple):
    """Do something with files, which an event loop leaves to a thread."""

    run: Callable[[], Any]


class Ask(NamedTuple):
    """Ask the caller's own function for the bytes of a URL; it may be a coroutine function."""

    of: Callable[[str], bytes | Awaitable[bytes]]
    url: str


class Open(NamedTuple):
    """Begin to read an answer line by line, in place of any that was read before."""

    call: Call[None]


class Line(NamedTuple):
    """Read the next line; None is sent at the end."""


class Emit(NamedTuple, Generic[T]):
    """Hand an item to whoever iterates."""

    item: T


Step: TypeAlias = Call[Any] | Pause | Work | Ask | Open | Line
Flow: TypeAlias = Generator[Step, Any, T]
Stream: TypeAlias = Generator[Step | Emit[T], Any, None]


class Page(Protocol[T_co]):
    """What every list of the API answers with."""

    @property
    def data(self) -> tuple[T_co, ...]:
        """The items of this page."""
        ...

    @property
    def next_cursor(self) -> str | None:
        """What asks for the next page; None on the last."""
        ...


Listing: TypeAlias = Callable[[str | None], Call[Page[T]]]
"""What to ask for the page at a cursor; None is the first."""


def send(call: Call[T]) -> Flow[T]:
    """Send one call from within a flow, and return its struct."""
    result: T = yield call
    return result


class Raw(Generic[T]):
    """What a verb returns under `with_raw_response`: the last answer, and what it was read as."""

    def __init__(self, answer: Answer | None, value: T) -> None:
        if answer is None:
            raise InputError(
                "This call needed no request, so there is no answer to show.",
                hint="Use the client itself for it.",
            )
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.headers
        """Names in any case."""
        self._value = value

    @property
    def request_id(self) -> str | None:
        """What the server's log calls this request."""
        return self.headers.get("x-request-id")

    def parse(self) -> T:
        """Return what the verb returns without `with_raw_response`."""
        return self._value

    def __repr__(self) -> str:
        return f"<Raw {self.status} {type(self._value).__name__}>"


class Pages(Generic[T]):
    """A list of the server's, read page by page as it is iterated."""

    def __init__(self, listing: Listing[T], mode: Blocking) -> None:
        self._listing, self._mode = listing, mode

    def pages(self) -> Iterator[Page[T]]:
        """Yield whole pages. Raises APIError."""
        return self._mode.iterate(_pages(self._listing))

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.data


class AsyncPages(Generic[T]):
    """A list of the server's, read page by page as it is iterated."""

    def __init__(self, listing: Listing[T], mode: Waiting) -> None:
        self._listing, self._mode = listing, mode

    def pages(self) -> AsyncIterator[Page[T]]:
        """Yield whole pages. Raises APIError."""
        return self._mode.iterate(_pages(self._listing))

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.data:
                yield item


def _pages(listing: Listing[T]) -> Stream[Page[T]]:
    cursor: str | None = None
    while True:
        page = yield from _send_page(listing(cursor))
        yield Emit(page)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor:  # it would never end
            raise APIResponseValidationError(
                "The list has a page that follows itself.", hint="Update the server."
            )
        cursor = page.next_cursor


def _send_page(call: Call[Page[T]]) -> Generator[Step | Emit[Page[T]], Any, Page[T]]:
    page: Page[T] = yield call
    return page


# The modes: how the steps of a flow are done. Everything that blocks or awaits is below.


class _Ended(NamedTuple):
    """The end of a flow, and what it returned."""

    value: Any


def _advance(
    flow: Generator[Any, Any, Any], result: object = None, *, error: Exception | None = None
) -> Any:
    """Tell a flow what came of its step; return its next step, or _Ended."""
    try:
        return flow.send(result) if error is None else flow.throw(error)
    except StopIteration as end:
        return _Ended(end.value)


class Mode:
    """What flows may read of the client that they run in."""

    is_async = False

    def __init__(self, *, clock: Clock, point: PointName) -> None:
        self.clock = clock
        self.point = point


class Blocking(Mode):
    """Runs flows in the caller's thread. Keeps nothing of them, so threads may share it."""

    def __init__(self, transport: Transport, *, clock: Clock, point: PointName) -> None:
        super().__init__(clock=clock, point=point)
        self.transport = transport

    def run(self, flow: Call[T] | Flow[T]) -> T:
        """Return what a verb comes to, or raise what went wrong."""
        return self.drive(flow)[0]

    def drive(self, flow: Call[T] | Flow[T]) -> tuple[T, Answer | None]:
        """Return what a verb comes to, and the last answer on the way there."""
        hand = _Hand(self)
        if isinstance(flow, Call):
            return cast(T, hand.do(flow)), hand.last
        step = _advance(flow)
        while not isinstance(step, _Ended):
            step = self._next(flow, step, hand)
        return cast(T, step.value), hand.last

    def iterate(self, stream: Stream[T]) -> Iterator[T]:
        """Yield the items of a stream as they come; closes its connection at the end."""
        with closing(_Hand(self)) as hand, closing(stream):
            step = _advance(stream)
            while not isinstance(step, _Ended):
                if isinstance(step, Emit):
                    yield step.item
                step = self._next(stream, step, hand)

    def _next(self, flow: Generator[Any, Any, Any], step: Any, hand: _Hand) -> Any:
        try:
            result = hand.do(step)
        except Exception as error:  # which is the flow's to handle
            return _advance(flow, error=error)
        return _advance(flow, result)


class _Hand:
    """Does the steps of one flow; has the last answer, and the lines that are being read."""

    def __init__(self, mode: Blocking) -> None:
        self._mode = mode
        self._lines: Lines | None = None
        self.last: Answer | None = None

    def do(self, step: Step | Emit[Any]) -> Any:
        match step:
            case Call():
                result, self.last = self._mode.transport.send(step)
                return result
            case Pause(seconds):
                return self._mode.clock.sleep(seconds)
            case Work(run):
                return run()
            case Ask(of, url):
                return _waited_for(of(url))
            case Open(call):
                self.close()
                self._lines = self._mode.transport.open(call)
                return self._lines.status
            case Line():
                return None if self._lines is None else self._lines.next()
        return None

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()


class Waiting(Mode):
    """Runs flows in an asyncio event loop, which goes on meanwhile."""

    is_async = True

    def __init__(self, transport: AsyncTransport, *, clock: Clock, point: PointName) -> None:
        super().__init__(clock=clock, point=point)
        self.transport = transport

    async def run(self, flow: Call[T] | Flow[T]) -> T:
        """Return what a verb comes to, or raise what went wrong."""
        return (await self.drive(flow))[0]

    async def drive(self, flow: Call[T] | Flow[T]) -> tuple[T, Answer | None]:
        """Return what a verb comes to, and the last answer on the way there."""
        hand = _AsyncHand(self)
        if isinstance(flow, Call):
            return cast(T, await hand.do(flow)), hand.last
        step = _advance(flow)
        while not isinstance(step, _Ended):
            step = await self._next(flow, step, hand)
        return cast(T, step.value), hand.last

    async def iterate(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Yield the items of a stream as they come; closes its connection at the end."""
        async with aclosing(_AsyncHand(self)) as hand:
            with closing(stream):
                step = _advance(stream)
                while not isinstance(step, _Ended):
                    if isinstance(step, Emit):
                        yield step.item
                    step = await self._next(stream, step, hand)

    async def _next(self, flow: Generator[Any, Any, Any], step: Any, hand: _AsyncHand) -> Any:
        try:
            result = await hand.do(step)
        except Exception as error:  # which is the flow's to handle
            return _advance(flow, error=error)
        return _advance(flow, result)


class _AsyncHand:
    """As _Hand, in an event loop."""

    def __init__(self, mode: Waiting) -> None:
        self._mode = mode
        self._lines: AsyncLines | None = None
        self.last: Answer | None = None

    async def do(self, step: Step | Emit[Any]) -> Any:
        match step:
            case Call():
                result, self.last = await self._mode.transport.send(step)
                return result
            case Pause(seconds):
                return await self._mode.clock.sleep_async(seconds)
            case Work(run):
                return await _in_thread(run)
            case Ask(of, url):
                given = of(url)
                return await given if isawaitable(given) else given
            case Open(call):
                await self.aclose()
                self._lines = await self._mode.transport.open(call)
                return self._lines.status
            case Line():
                return None if self._lines is None else await self._lines.next()
        return None

    async def aclose(self) -> None:
        if self._lines is not None:
            await self._lines.aclose()


class RawBlocking(Blocking):
    """As Blocking; a verb returns the last answer with its result."""

    def run(self, flow: Any) -> Any:
        """Return a Raw of what a verb comes to, or raise what went wrong."""
        value, answer = self.drive(flow)
        return Raw(answer, value)


class RawWaiting(Waiting):
    """As Waiting; a verb returns the last answer with its result."""

    async def run(self, flow: Any) -> Any:
        """Return a Raw of what a verb comes to, or raise what went wrong."""
        value, answer = await self.drive(flow)
        return Raw(answer, value)


def _waited_for(given: bytes | Awaitable[bytes]) -> bytes:
    if not isawaitable(given):
        return given
    if isinstance(given, Coroutine):
        given.close()
    raise InputError(
        "bytes_of is a coroutine function, and this client does not await.",
        hint="Pass a plain function, or use AsyncClient.",
    )


async def _in_thread(run: Callable[[], Any]) -> Any:
    import asyncio  # takes 40 ms, which the blocking client need not spend

    return await asyncio.to_thread(run)


# What a class of verbs is made of.

M = TypeVar("M", bound=Mode)


class Face(Generic[M]):
    """A client, or a part of one such as client.scans: verbs, and the mode that runs them."""

    def __init__(self, mode: M) -> None:
        self._mode = mode


class verb(Generic[P, T]):
    """Makes a method of each face of a function that returns a Call or a Flow."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Call[T] | Flow[T]]) -> None:
        @wraps(flow)
        def call(face: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return face._mode.run(flow(face, *args, **kwargs))

        @wraps(flow)
        async def wait(face: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return await face._mode.run(flow(face, *args, **kwargs))

        self.__doc__ = flow.__doc__
        self._forms: tuple[Callable[..., Any], Callable[..., Any]] = (call, wait)

    @overload
    def __get__(self, face: Face[Blocking], owner: object = None) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, face: Face[Waiting], owner: object = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, face: Face[RawBlocking], owner: object = None) -> Callable[P, Raw[T]]: ...
    @overload
    def __get__(
        self, face: Face[RawWaiting], owner: object = None
    ) -> Callable[P, Coroutine[Any, Any, Raw[T]]]: ...
    @overload
    def __get__(self, face: None, owner: object = None) -> Callable[..., Any]: ...
    def __get__(self, face: Any, owner: object = None) -> Any:
        if face is None:
            return self._forms[0]
        return MethodType(self._forms[face._mode.is_async], face)


class listing(Generic[P, T]):
    """Makes a method that lists, of a function that returns a Listing."""

    def __init__(self, pages: Callable[Concatenate[Any, P], Listing[T]]) -> None:
        @wraps(pages)
        def call(face: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            mode = face._mode
            kind = AsyncPages if mode.is_async else Pages
            return kind(pages(face, *args, **kwargs), mode)

        self.__doc__ = pages.__doc__
        self._form: Callable[..., Any] = call

    @overload
    def __get__(self, face: Face[Blocking], owner: object = None) -> Callable[P, Pages[T]]: ...
    @overload
    def __get__(self, face: Face[Waiting], owner: object = None) -> Callable[P, AsyncPages[T]]: ...
    @overload
    def __get__(self, face: None, owner: object = None) -> Callable[..., Any]: ...
    def __get__(self, face: Any, owner: object = None) -> Any:
        return self._form if face is None else MethodType(self._form, face)


class stream(Generic[P, T]):
    """Makes a method that iterates, of a function that returns a Stream."""

    def __init__(self, items: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        @wraps(items)
        def call(face: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return face._mode.iterate(items(face, *args, **kwargs))

        self.__doc__ = items.__doc__
        self._form: Callable[..., Any] = call

    @overload
    def __get__(self, face: Face[Blocking], owner: object = None) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(
        self, face: Face[Waiting], owner: object = None
    ) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, face: None, owner: object = None) -> Callable[..., Any]: ...
    def __get__(self, face: Any, owner: object = None) -> Any:
        return self._form if face is None else MethodType(self._form, face)

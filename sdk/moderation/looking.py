"""Looker: asks the server about the images of an item, and waits as long as the server is away.

    Media --url--> client.check ----> Scan
      |              |- the server may not fetch it ------> bytes of `load` --> Scan
      |              |- this image cannot be judged ------> PinclipError, kept as its result
      |              `- no server, no worker, no room ----> wait, tell, ask again
      `--no url--load--> bytes
    key refused: raised, since no other image would fare better

No verdict is ever made up here: what could not be looked at stays an error. Knows no journal and
no policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sdk.codes import ScanErrorCode
from sdk.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    AuthenticationError,
    InternalServerError,
    PermissionDeniedError,
    PinclipError,
    RateLimitError,
    ScanFailed,
    ScanTimeout,
)
from sdk.wire import Priority, Scan

from .platform import Media, PlatformError, RateLimited
from .policy import Looked
from .sound import reason

if TYPE_CHECKING:
    from sdk import AsyncClient

WAIT_SECONDS = 60.0
"""How long one request for a verdict may take before it is asked about again."""
FIRST_PAUSE_SECONDS = 1.0
LAST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 3600.0
"""Most that is waited before asking again, whatever a server or a platform names."""
LOAD_SECONDS = 600.0
AT_ONCE = 4
"""Images of a gallery that are asked about at the same time."""
LONGEST_CHAIN = 10
"""Most scans of which each took the place of the one before that are followed."""
KEY_REFUSED = (AuthenticationError, PermissionDeniedError)
AWAY = (APIConnectionError, APIResponseValidationError, InternalServerError, RateLimitError)

Sleep = Callable[[float], Awaitable[None]]
Tell = Callable[[PinclipError, float], None]


class Looker:
    """Looks at images through one client. `sleep` may raise to end the waiting.

    `tell` hears of each pause: what kept the image from being looked at, and the seconds.
    """

    def __init__(self, client: AsyncClient, *, sleep: Sleep, tell: Tell) -> None:
        self._client = client
        self._sleep = sleep
        self._tell = tell
        self._room = asyncio.Semaphore(AT_ONCE)

    async def look(self, media: Sequence[Media], *, context: Mapping[str, str]) -> list[Looked]:
        """Return a finished scan for each image, or why there can be none, in order.

        `context` (platform, item_id) comes back with the scans and their events.
        Raises AuthenticationError or PermissionDeniedError, and what `sleep` raises.
        """
        tasks = [asyncio.ensure_future(self._patiently(each, context)) for each in media]
        try:
            return [Looked(each, await task) for each, task in zip(media, tasks, strict=True)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def again(self, scan: Scan) -> Scan:
        """Return the scan as it is now, or the finished one that took its place.

        Raises APIError where the server cannot tell.
        """
        latest = await self._client.get(scan.id)
        for _ in range(LONGEST_CHAIN):
            if latest.superseded_by is None:
                break
            newer = await self._client.get(latest.superseded_by)
            if not newer.status.is_final or newer.verdict is None:
                break
            latest = newer
        return latest

    async def _patiently(self, media: Media, context: Mapping[str, str]) -> Scan | PinclipError:
        async with self._room:
            pause, pending = FIRST_PAUSE_SECONDS, ""
            while True:
                result = await self._ask(media, context, pending)
                if isinstance(result, Scan) or not _is_away(result):
                    return result
                if isinstance(result, ScanTimeout | ScanFailed):
                    pending = result.scan_id if isinstance(result, ScanTimeout) else ""
                seconds = max(pause, wait_for(_wanted(result)))
                self._tell(result, seconds)
                await self._sleep(seconds)
                pause = min(pause * 2, LAST_PAUSE_SECONDS)

    async def _ask(
        self, media: Media, context: Mapping[str, str], pending: str
    ) -> Scan | PinclipError:
        """Return the finished scan, or why there is none yet or ever."""
        try:
            if pending:
                return await self._client.wait(pending, timeout=WAIT_SECONDS)
            return await self._check(media, context)
        except KEY_REFUSED as error:
            if error.problem is None:  # a proxy's page, and no word of the server
                return error
            raise
        except PinclipError as error:
            return error
        except Exception as error:  # of the adapter's `load`, or an address that is none
            return PlatformError(f"The image {media.id} could not be read: {reason(error)}")

    async def _check(self, media: Media, context: Mapping[str, str]) -> Scan:
        check = partial(
            self._client.check, wait=WAIT_SECONDS, priority=Priority.BULK, context=context
        )
        load = media.load
        if media.url is not None:
            given = None if load is None else partial(_loaded, load)
            return await check(media.url, bytes_of=given)
        if load is not None:
            return await check(await _loaded(load))
        raise PlatformError(
            f"The image {media.id} has no URL and cannot be loaded.",
            hint="An adapter gives each Media a url, a load, or both.",
        )


def wait_for(seconds: float) -> float:
    """Return how long to wait where so many seconds are asked for: neither ever nor not at all."""
    if seconds > FIRST_PAUSE_SECONDS:  # which what is not a number is not
        return min(seconds, LONGEST_PAUSE_SECONDS)
    return FIRST_PAUSE_SECONDS


async def _loaded(load: Callable[[], Awaitable[bytes]], _url: str = "") -> bytes:
    async with asyncio.timeout(LOAD_SECONDS):
        return await load()


def _is_away(error: PinclipError) -> bool:
    """Tell if the trouble is not the image's, so that waiting may end it."""
    if isinstance(error, ScanFailed):
        return error.code == ScanErrorCode.DEADLINE_EXCEEDED
    if isinstance(error, APIStatusError) and error.problem is None:
        return True  # some other program answers, such as a proxy
    return isinstance(error, (*AWAY, ScanTimeout, RateLimited))


def _wanted(error: PinclipError) -> float:
    """Return for how many seconds the server, or the platform, asks to be left alone."""
    asked: float | None = None
    if isinstance(error, RateLimited | APIStatusError):
        asked = error.retry_after
    return asked or 0.0

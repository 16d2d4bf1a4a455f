"""Client and AsyncClient: the same names, the same arguments, the same errors.

Each is a thin face of _calls (what to send, what it means) and _transport (how it gets there);
tests/sdk/test_client.py keeps the two alike. httpx is imported with the first client, since
that takes longer than all the rest.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from . import _calls as calls
from ._clock import Clock
from .errors import ScanTimeout
from .settings import read
from .wire import PointName, Priority, Scan

if TYPE_CHECKING:
    from ._transport import AsyncHttp, SyncHttp


class Client:
    """Checks images, and blocks meanwhile. Safe to share between threads; close it when done.

    api_key and base_url default to PINCLIP_API_KEY and PINCLIP_BASE_URL. `timeout` is in seconds
    for each step of a request; one that asks the server to hold its answer has that time on top.
    `max_retries` counts further tries after trouble that may pass. An `http_client` (an
    httpx.Client) is used as it is, and left open. Raises SettingsError.
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

        self._point = calls.point(operating_point)
        self._clock = _clock or Clock()
        settings = read(api_key=api_key, base_url=base_url)
        plan = Plan(settings, timeout=timeout, max_retries=max_retries)
        self._transport = Transport(plan, clock=self._clock, http=http_client)

    def check(
        self,
        x: str | Path | bytes,
        *,
        wait: float = 20,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.INTERACTIVE,
    ) -> Scan:
        """Return a finished scan of a URL, a file or bytes: one that has a verdict.

        `wait` is in seconds, from when the server has accepted the scan. Raises ScanTimeout if
        there is no verdict by then, ScanFailed if there never will be, InputError or OSError if
        `x` cannot be sent, APIError if the server cannot be asked.
        """
        scan = self.submit(x, operating_point=operating_point, priority=priority)
        return self.wait(scan, timeout=wait)

    def submit(
        self,
        x: str | Path | bytes,
        *,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.INTERACTIVE,
    ) -> Scan:
        """Return the scan as accepted, most often still queued.

        Say `priority="bulk"` where nobody waits for it: the scans of people then go first.
        """
        point = calls.point(operating_point or self._point)
        rank = calls.priority(priority)
        image = calls.source(x)
        if isinstance(image, str):
            return self._transport.send(calls.submit(point, priority=rank, url=image))
        data = calls.load(image) if isinstance(image, Path) else image
        upload = self._transport.send(calls.upload(data))
        return self._transport.send(calls.submit(point, priority=rank, upload_id=upload.id))

    def wait(self, scan: Scan | str, *, timeout: float = 60) -> Scan:
        """Return the scan, or the one of this id, once it has a verdict.

        Raises ScanTimeout after `timeout` seconds, which leaves the scan as it is, or ScanFailed.
        """
        if isinstance(scan, Scan) and scan.status.is_final:
            return calls.finished(scan)
        scan_id = scan.id if isinstance(scan, Scan) else scan
        until = self._clock.monotonic() + timeout
        while True:
            started = self._clock.monotonic()
            hold = calls.hold(until - started)
            latest = self._transport.send(calls.scan(scan_id, wait_seconds=hold))
            if latest.status.is_final:
                return calls.finished(latest)
            pause = calls.pause(started=started, now=self._clock.monotonic(), until=until)
            if pause is None:
                raise ScanTimeout(latest, timeout=timeout)
            self._clock.sleep(pause)

    def get(self, scan_id: str) -> Scan:
        """Return the scan as it is now, whatever its status."""
        return self._transport.send(calls.scan(scan_id))

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
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

        self._point = calls.point(operating_point)
        self._clock = _clock or Clock()
        settings = read(api_key=api_key, base_url=base_url)
        plan = Plan(settings, timeout=timeout, max_retries=max_retries)
        self._transport = AsyncTransport(plan, clock=self._clock, http=http_client)

    async def check(
        self,
        x: str | Path | bytes,
        *,
        wait: float = 20,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.INTERACTIVE,
    ) -> Scan:
        """Return a finished scan of a URL, a file or bytes; see Client.check."""
        scan = await self.submit(x, operating_point=operating_point, priority=priority)
        return await self.wait(scan, timeout=wait)

    async def submit(
        self,
        x: str | Path | bytes,
        *,
        operating_point: PointName | str | None = None,
        priority: Priority | str = Priority.INTERACTIVE,
    ) -> Scan:
        """Return the scan as accepted, most often still queued; see Client.submit."""
        point = calls.point(operating_point or self._point)
        rank = calls.priority(priority)
        image = calls.source(x)
        if isinstance(image, str):
            return await self._transport.send(calls.submit(point, priority=rank, url=image))
        data = await _load(image) if isinstance(image, Path) else image
        upload = await self._transport.send(calls.upload(data))
        return await self._transport.send(calls.submit(point, priority=rank, upload_id=upload.id))

    async def wait(
        self,
        scan: Scan | str,
        *,
        timeout: float = 60,  # noqa: ASYNC109 - the same argument as Client.wait
    ) -> Scan:
        """Return the scan, or the one of this id, once it has a verdict; see Client.wait."""
        if isinstance(scan, Scan) and scan.status.is_final:
            return calls.finished(scan)
        scan_id = scan.id if isinstance(scan, Scan) else scan
        until = self._clock.monotonic() + timeout
        while True:
            started = self._clock.monotonic()
            hold = calls.hold(until - started)
            latest = await self._transport.send(calls.scan(scan_id, wait_seconds=hold))
            if latest.status.is_final:
                return calls.finished(latest)
            pause = calls.pause(started=started, now=self._clock.monotonic(), until=until)
            if pause is None:
                raise ScanTimeout(latest, timeout=timeout)
            await self._clock.sleep_async(pause)

    async def get(self, scan_id: str) -> Scan:
        """Return the scan as it is now, whatever its status."""
        return await self._transport.send(calls.scan(scan_id))

    async def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _load(path: Path) -> bytes:
    """Return the bytes of a file without holding up the event loop."""
    import asyncio

    return await asyncio.to_thread(calls.load, path)

"""ASGI middleware: the images of an upload are checked before the application sees it.

    server --http.request...--> Body --images--> client.check --> UploadCheck
                                 |                                    |
               application <-- the same body <-- scope["pinclip"] <---+--> 422, 503

For Starlette, FastAPI, Litestar and whatever else speaks ASGI. What is no upload goes through
untouched. A body is handed on byte for byte, and behind `max_body_bytes` it streams as if nobody
were here. asgi_body.py and asgi_search.py read it; sdk.moderation.uploads decides, and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from sdk.errors import PinclipError
from sdk.moderation.journal import Mode
from sdk.moderation.policy import Looked, Policy
from sdk.moderation.rules import default_policy
from sdk.moderation.uploads import (
    NotChecked,
    Refusal,
    UploadCheck,
    UploadRules,
    judged,
    log,
    looked,
    refusal,
    too_many,
    too_slow,
    wants_review,
)
from sdk.wire import Scan

from .asgi_body import Body, Message, Receive
from .asgi_search import Image, search_of

if TYPE_CHECKING:
    from sdk import AsyncClient

CONCURRENCY = 4
"""How many images of one upload are sent to the server at once."""
HEADER = b"pinclip-verdicts"
"""Set on answers in observe mode."""

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
OnReview = Callable[[UploadCheck, Scope], Awaitable[None]]


class UploadMiddleware:
    """Checks uploads to `app`, by `rules` and `policy`; tells `on_review` what people should see.

    The application finds the UploadCheck in `scope["pinclip"]`. `client` is closed by whoever
    made it, and belongs to the event loop of the application.
    """

    def __init__(
        self,
        app: App,
        *,
        client: AsyncClient,
        rules: UploadRules = UploadRules(),  # noqa: B008 - frozen
        policy: Policy | None = None,
        on_review: OnReview | None = None,
    ) -> None:
        self._app = app
        self._client = client
        self._rules = rules
        self._policy = policy or default_policy()
        self._on_review = on_review

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let the application do it."""
        if scope["type"] != "http" or not self._rules.covers(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        with closing(Body(receive)) as body:
            check = await self._checked(scope, body)
            if check is None:
                await self._app(scope, body.replay, send)
            else:
                await self._answer(check, scope, body.replay, send)

    async def _checked(self, scope: Scope, body: Body) -> UploadCheck | None:
        """Return what is known of the images of a body; None if it has none, or broke off."""
        limit = self._rules.max_body_bytes
        with ExitStack() as files:
            search = search_of(scope["headers"], files)
            if search is None:
                return None
            await body.read(search, limit=limit)
            images = search.found(limit=None if body.is_whole else limit)
            if body.is_gone or not images:
                return None
            return judged(self._policy, await self._look(images), path=scope["path"])

    async def _answer(self, check: UploadCheck, scope: Scope, receive: Receive, send: Send) -> None:
        refused = refusal(check, self._rules)
        if refused is not None:
            await _refuse(refused, send)
            return
        if wants_review(check, self._rules):
            await self._tell(check, scope)
        scope["pinclip"] = check
        is_shown = self._rules.mode is Mode.OBSERVE
        await self._app(scope, receive, _showing(check, send) if is_shown else send)

    async def _look(self, images: Sequence[Image]) -> list[Looked]:
        """Return what came of each image, once all are done or the time is up."""
        results: dict[int, Scan | PinclipError] = {}
        turn = asyncio.Semaphore(CONCURRENCY)

        async def look(index: int, image: Image) -> None:
            async with turn:
                results[index] = await self._check(image)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rules.wait_seconds), asyncio.TaskGroup() as group:
                for index, image in enumerate(images[: self._rules.max_images]):
                    group.create_task(look(index, image))
        return [
            looked(image.name, results.get(index, self._why_not(index)))
            for index, image in enumerate(images)
        ]

    def _why_not(self, index: int) -> NotChecked:
        is_late = index < self._rules.max_images
        return too_slow(self._rules) if is_late else too_many(self._rules)

    async def _check(self, image: Image) -> Scan | PinclipError:
        if isinstance(image.source, PinclipError):
            return image.source
        try:
            return await self._client.check(await image.source(), wait=self._rules.wait_seconds)
        except PinclipError as error:
            return error
        except Exception as error:  # a check must never be what breaks an upload
            log.exception("the check of an upload failed")
            return NotChecked(f"{type(error).__name__}: {error}", code="upload_check_failed")

    async def _tell(self, check: UploadCheck, scope: Scope) -> None:
        if self._on_review is None:
            return
        try:
            await self._on_review(check, scope)
        except Exception:  # the upload is let in all the same
            log.exception("on_review failed for scan %s", check.decision.scan_id)


async def _refuse(refused: Refusal, send: Send) -> None:
    headers = {**refused.headers, "content-length": str(len(refused.body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": refused.body})


def _showing(check: UploadCheck, send: Send) -> Send:
    """Return a `send` that tells in a header what was found."""

    async def show(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (HEADER, check.summary.encode())]
            message = {**message, "headers": headers}
        await send(message)

    return show

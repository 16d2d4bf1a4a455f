"""Django middleware: the images of an upload are checked before the view sees it.

    MIDDLEWARE = [..., "sdk.moderation.platforms.django.UploadMiddleware"]
    PINCLIP = {"paths": ["/photos"], "mode": "enforce", "policy": "policy.toml"}

    request.FILES, or a body that is an image --client.check--> UploadCheck
                                                                   |
                 view <-- request.pinclip <------------------------+--> 422, 503

For sync and async projects alike: the check itself is done in threads, by one client a process.
Forms are read by Django, with its own limits and answers. What is decided, and why, is in
sdk.moderation.uploads.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple
from weakref import finalize

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings  # type: ignore[import-untyped]  # it has no types
from django.core.exceptions import RequestDataTooBig  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]

from sdk.errors import PinclipError
from sdk.moderation.journal import Mode
from sdk.moderation.policy import Looked
from sdk.moderation.uploads import (
    HEAD_BYTES,
    IMAGE_LIMIT_BYTES,
    NotChecked,
    UploadCheck,
    is_image,
    judged,
    log,
    looked,
    refusal,
    too_large,
    too_many,
    too_slow,
    wants_review,
)
from sdk.wire import Scan

from .django_settings import DjangoSettings, client_of, on_review_of, policy_of, read_settings

CONCURRENCY = 4
"""How many images of one upload are sent to the server at once."""
THREADS = 16
"""How many images of all uploads are."""
HEADER = "Pinclip-Verdicts"
"""Set on answers in observe mode."""
NAME_LIMIT = 100

Request = Any
Response = Any


class UploadMiddleware:
    """Checks uploads as PINCLIP says; views find the UploadCheck in `request.pinclip`.

    None there means that no image was found. Raises ImproperlyConfigured for settings that
    cannot work.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Request], Response]) -> None:
        self._get_response = get_response
        self._gate = _Gate(read_settings())
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request, or let the view do it."""
        if self._is_async:
            return self._answer(request)
        request.pinclip = check = self._gate.check(request)
        if check is None:
            return self._get_response(request)
        refused = self._gate.refused(check)
        if refused is not None:
            return refused
        self._gate.tell(check, request)
        return self._gate.shown(check, self._get_response(request))

    async def _answer(self, request: Request) -> Response:
        # Not in the one thread that is kept for the ORM: others must not wait for this upload.
        request.pinclip = check = await sync_to_async(self._gate.check, thread_sensitive=False)(
            request
        )
        if check is None:
            return await self._get_response(request)
        refused = self._gate.refused(check)
        if refused is not None:
            return refused
        await sync_to_async(self._gate.tell)(check, request)
        return self._gate.shown(check, await self._get_response(request))


class _Image(NamedTuple):
    """An image that was found, and how to read it or why it cannot be sent."""

    name: str
    source: Callable[[], bytes] | PinclipError


class _Gate:
    """What sync and async requests have in common."""

    def __init__(self, rules: DjangoSettings) -> None:
        self._rules = rules
        self._policy = policy_of(rules)
        self._on_review = on_review_of(rules)
        self._client = client_of(rules)
        finalize(self, self._client.close)  # Django tells nobody when it ends
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pinclip")

    def check(self, request: Request) -> UploadCheck | None:
        """Return what is known of the images of a request; None if it has none."""
        if not self._rules.covers(request.method, request.path):
            return None
        found = list(_images(request))
        if not found:
            return None
        return judged(self._policy, list(self._look(found)), path=request.path)

    def refused(self, check: UploadCheck) -> Response | None:
        """Return the answer to give instead of the view's."""
        refused = refusal(check, self._rules)
        if refused is None:
            return None
        return HttpResponse(refused.body, status=refused.status, headers=refused.headers)

    def tell(self, check: UploadCheck, request: Request) -> None:
        """Tell `on_review` of an upload that people should see."""
        if self._on_review is None or not wants_review(check, self._rules):
            return
        try:
            self._on_review(check, request)
        except Exception:  # the upload is let in all the same
            log.exception("on_review failed for scan %s", check.decision.scan_id)

    def shown(self, check: UploadCheck, response: Response) -> Response:
        """Tell in a header what was found, in observe mode."""
        if self._rules.mode is Mode.OBSERVE:
            response.headers[HEADER] = check.summary
        return response

    def _look(self, images: Sequence[_Image]) -> Iterator[Looked]:
        """Yield what came of each image, a few at once, until all are done or the time is up."""
        until = time.monotonic() + self._rules.wait_seconds
        most = self._rules.max_images
        for first in range(0, min(len(images), most), CONCURRENCY):
            few = images[first : min(first + CONCURRENCY, most)]
            # Read in this thread: the view has the files back while a late check still runs.
            begun = [self._begin(image.source) for image in few]
            wait(begun, timeout=max(until - time.monotonic(), 0))
            for image, future in zip(few, begun, strict=True):
                yield looked(image.name, self._ended(future))
        for image in images[most:]:
            yield looked(image.name, too_many(self._rules))

    def _begin(self, source: Callable[[], bytes] | PinclipError) -> Future[Scan | PinclipError]:
        if not isinstance(source, PinclipError):
            return self._threads.submit(self._send, source())
        future: Future[Scan | PinclipError] = Future()
        future.set_result(source)
        return future

    def _send(self, image: bytes) -> Scan | PinclipError:
        try:
            return self._client.check(image, wait=self._rules.wait_seconds)
        except PinclipError as error:
            return error
        except Exception as error:  # a check must never be what breaks an upload
            log.exception("the check of an upload failed")
            return NotChecked(f"{type(error).__name__}: {error}", code="upload_check_failed")

    def _ended(self, future: Future[Scan | PinclipError]) -> Scan | PinclipError:
        if future.done():
            return future.result()
        future.cancel()
        return too_slow(self._rules)


def _images(request: Request) -> Iterator[_Image]:
    """Yield the images of a form, or the body if it is one.

    What Django cannot read is raised as Django raises it: its answer is the same as without us.
    """
    kind = (request.content_type or "").lower()
    if kind == "multipart/form-data":
        for name, files in request.FILES.lists():
            yield from _of_field(str(name)[:NAME_LIMIT], files)
    elif kind.startswith("image/") or kind in ("", "application/octet-stream"):
        yield from _of_body(request, kind)


def _of_field(name: str, files: Sequence[Any]) -> Iterator[_Image]:
    for index, file in enumerate(files):
        head = _read(file, HEAD_BYTES)
        if not file.size or not is_image(file.content_type or "", head):
            continue
        shown = f"{name}[{index}]" if index else name
        if file.size > IMAGE_LIMIT_BYTES:
            yield _Image(shown, too_large("The image", limit=IMAGE_LIMIT_BYTES))
        else:
            yield _Image(shown, partial(_read, file))


def _of_body(request: Request, kind: str) -> Iterator[_Image]:
    try:
        body = request.body
    except RequestDataTooBig:  # nothing is read yet: the view can still stream it
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        yield _Image("body", too_large("The body", limit=limit))
        return
    if body and is_image(kind, body[:HEAD_BYTES]):
        yield _Image("body", lambda: bytes(body))


def _read(file: Any, size: int = -1) -> bytes:
    file.seek(0)
    data = file.read(size)
    file.seek(0)
    return bytes(data)

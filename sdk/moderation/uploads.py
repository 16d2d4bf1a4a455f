"""Uploads: what the middlewares for web applications share. An upload is judged before it is taken.

    request --images--> client.check --Looked--> policy, law --judged--> UploadCheck
                                                                            |
             observe: the application gets the request, and the check       |
             review:  ... and `on_review` is told                           |
             enforce: refusal(...) -> 422 where the policy puts aside or removes, else as review

There is no item yet, so nothing is applied, undone or written down: an upload that was refused can
be sent again. An image that could not be checked is let through, unless `fail_closed`. Pure but for
its log; how images are found and sent is for the middlewares platforms.asgi and platforms.django.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import uuid4

import msgspec
from msgspec import Struct

from sdk.errors import APIError, InputError, PinclipError, ScanFailed, ScanTimeout
from sdk.wire import Scan

from . import notices
from .journal import Mode
from .platform import ActionKind, Capability, Item, Media
from .policy import Decision, Looked, Policy, find, within_law

METHODS = ("POST", "PUT", "PATCH")
IMAGE_LIMIT_BYTES = 20 * 1024 * 1024
"""Largest image that the server takes."""
HEAD_BYTES = 16
"""How much of a file tells what it is."""
RETRY_SECONDS = 10
REFUSED = (ActionKind.QUARANTINE, ActionKind.REMOVE)
"""What a policy must ask for to have an upload refused."""

log = logging.getLogger("pinclip.uploads")


class UploadRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which uploads are checked, and what comes of it. Raises InputError with every fault.

    UploadRules(paths=["/avatars", "/api/images"], mode="enforce")
    """

    paths: tuple[str, ...] = ("/",)
    """Paths that are checked, each with all below it."""
    mode: Mode = Mode.OBSERVE
    """What comes of a check: observe, review or enforce."""
    wait_seconds: float = 5.0
    """How long an upload is held at most, for all of its images together."""
    fail_closed: bool = False
    """With enforce: refuse what could not be checked, as when the server is down."""
    max_images: int = 16
    """How many images of one upload are checked; the others count as not checked."""
    max_body_bytes: int = 64 * 1024 * 1024
    """How much of a body is read for images; what is behind it counts as not checked."""

    def __post_init__(self) -> None:
        """Refuse rules that cannot be."""
        # Who makes it in code may give a list and a word.
        msgspec.structs.force_setattr(self, "paths", tuple(self.paths))
        faults = list(self._faults())
        if faults:
            raise InputError(" ".join(faults), hint="See docs/guides/asgi.md.")
        msgspec.structs.force_setattr(self, "mode", Mode(self.mode))

    def covers(self, method: str, path: str) -> bool:
        """Tell if a request is checked, as far as its first line says."""
        return method in METHODS and any(_is_below(path, folder) for folder in self.paths)

    def _faults(self) -> Iterator[str]:
        if self.mode not in list(Mode):
            yield f"mode is {self.mode!r}: use one of {', '.join(Mode)}."
        if not self.paths or not all(path.startswith("/") for path in self.paths):
            yield f"paths is {self.paths!r}: name at least one, each beginning with /."
        if not 0 < self.wait_seconds <= 60:
            yield f"wait_seconds is {self.wait_seconds:g}: use more than 0 and at most 60."
        if self.max_images < 1 or self.max_body_bytes < 1:
            yield "max_images and max_body_bytes must be at least 1."
        if self.fail_closed and self.mode != Mode.ENFORCE:
            yield f"fail_closed does nothing in {self.mode}: set mode to enforce, or leave it out."


class NotChecked(PinclipError):
    """An image of an upload was not checked, or a body not read; `code` says why."""

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class UploadCheck(Struct, frozen=True, kw_only=True):
    """What is known of the images of one upload, and what the policy would have done.

    `looked` has every image that was found, by the name of its form field, each with its scan or
    why there is none. `item` is what the policy was given: nothing but an id made up here.
    """

    item: Item
    looked: tuple[Looked, ...]
    decision: Decision

    @property
    def unchecked(self) -> tuple[Looked, ...]:
        """Those without a scan."""
        return tuple(each for each in self.looked if not isinstance(each.result, Scan))

    @property
    def summary(self) -> str:
        """Each image's verdict, or `not_checked`, in the order of the upload."""
        return ", ".join(_word(each) for each in self.looked)


class Refusal(NamedTuple):
    """The answer to an upload that is not taken: a problem (RFC 9457) as JSON."""

    status: int
    headers: dict[str, str]
    body: bytes


def judged(policy: Policy, looked: Sequence[Looked], *, path: str) -> UploadCheck:
    """Return the check of an upload with these images, and log it."""
    item = Item(id=f"upload_{uuid4().hex}")
    # All of them: whom an upload is refused still has it, so that there is always a way back.
    decision = within_law(policy.decide(item, looked), looked, frozenset(Capability))
    check = UploadCheck(item=item, looked=tuple(looked), decision=decision)
    log.info(
        "upload path=%s images=%s action=%s scan=%s",
        path,
        check.summary,
        decision.action or "none",
        decision.scan_id or "none",
    )
    for each in check.unchecked:
        log.warning("not checked path=%s image=%s: %s", path, each.media.id[:80], each.result)
    return check


def refusal(check: UploadCheck, rules: UploadRules) -> Refusal | None:
    """Return the answer to give instead of the application's, or None to let the upload in."""
    if rules.mode is not Mode.ENFORCE:
        return None
    decision = check.decision
    if decision.action in REFUSED and not decision.needs_human:
        return _flagged(check)
    if rules.fail_closed and check.unchecked:
        return _closed(check)
    return None


def wants_review(check: UploadCheck, rules: UploadRules) -> bool:
    """Tell if people should look at an upload that is let in."""
    return rules.mode is not Mode.OBSERVE and check.decision.action is not None


def looked(name: str, result: Scan | PinclipError) -> Looked:
    """Return an image of an upload and what came of it."""
    return Looked(Media(id=name), result)


def too_slow(rules: UploadRules) -> NotChecked:
    """Return why an image has no scan whose time is up."""
    return NotChecked(
        f"There was no verdict within {rules.wait_seconds:g} s.",
        code="upload_too_slow",
        hint="Set wait_seconds higher, or look why the server is slow.",
    )


def too_large(what: str, *, limit: int) -> NotChecked:
    """Return why something was not read to its end."""
    return NotChecked(f"{what} is larger than {limit} bytes.", code="upload_too_large")


def too_many(rules: UploadRules) -> NotChecked:
    """Return why an image was not checked that came after many."""
    return NotChecked(
        f"There are more than {rules.max_images} images in one upload.", code="upload_too_many"
    )


def unreadable(why: str) -> NotChecked:
    """Return why no image could be found in a body."""
    return NotChecked(f"The body cannot be searched for images: {why}.", code="upload_unreadable")


def is_image(kind: str, head: bytes) -> bool:
    """Tell if a file is to be checked, by its media type or by its first HEAD_BYTES bytes."""
    return (
        kind.startswith("image/")
        or head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
    )


_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def _flagged(check: UploadCheck) -> Refusal:
    scan = find(check.looked, check.decision.scan_id)
    said = "" if scan is None else notices.action_text(scan)
    detail = f"{said} This can be wrong: if it is, tell the people of this site the scan's id."
    return _refused(422, "upload_flagged", detail.strip(), check)


def _closed(check: UploadCheck) -> Refusal:
    if any(_may_pass(each.result) for each in check.unchecked):
        detail = "An image could not be checked now, and is not taken unchecked. Try again later."
        return _refused(503, "upload_unchecked", detail, check)
    detail = "An image could not be checked, and is not taken unchecked. Send another."
    return _refused(422, "upload_unreadable", detail, check)


def _refused(status: int, code: str, detail: str, check: UploadCheck) -> Refusal:
    title = {422: "Unprocessable Content", 503: "Service Unavailable"}[status]
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "images": [_shown(each) for each in check.looked],
    }
    headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = str(RETRY_SECONDS)
    return Refusal(status, headers, msgspec.json.encode(problem))


def _shown(each: Looked) -> dict[str, object]:
    shown: dict[str, object] = {"name": each.media.id, "verdict": _word(each)}
    if isinstance(each.result, Scan):
        shown["scan_id"] = each.result.id
    else:
        shown["code"] = each.result.code
    return shown


def _word(each: Looked) -> str:
    if isinstance(each.result, Scan) and each.result.verdict is not None:
        return each.result.verdict
    return "not_checked"


def _may_pass(result: Scan | PinclipError) -> bool:
    """Tell if the same image may have better luck later."""
    if isinstance(result, ScanFailed):
        return result.scan.error is not None and result.scan.error.retryable
    return isinstance(result, APIError | ScanTimeout) or (
        isinstance(result, NotChecked) and result.code == "upload_too_slow"
    )


def _is_below(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path == folder or path.startswith(f"{folder}/")

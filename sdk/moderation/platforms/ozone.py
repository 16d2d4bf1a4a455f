"""A Bluesky labeler run with Ozone: has it log events of a post, and reads them back.

    label, report, comment  -->  emitEvent, with the key as external id: refused when repeated
    take_back               -->  queryEvents  --what_became-->  label negated, report acknowledged
    team                    -->  who moderates

    answer(call): 401, 403       PermissionLost
                  429            RateLimited, until the time that the server gives
                  5xx or none    Unsure if it was to change something, else PlatformError

The calls go to the server of the bot's account (PDS), which passes them on. Knows no feeds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

from atproto import AsyncClient, models
from atproto.exceptions import (
    AtProtocolError,
    NetworkError,
    RateLimitExceededError,
    RequestErrorBase,
    UnauthorizedError,
)

from sdk.moderation.platform import (
    PermissionLost,
    PlatformError,
    RateLimited,
    UndoResult,
    Unsure,
)

PAGE = 100
"""Events of a post, and members of a team, that are asked for at once: the most there is."""
PATIENCE_SECONDS = 60.0
"""How long to leave a server alone that does not say for how long."""
REPORT_REASON = "com.atproto.moderation.defs#reasonOther"
OZONE = models.ToolsOzoneModerationDefs
REVIEWS = (OZONE.ModEventReport, OZONE.ModEventEscalate)
CLOSURES = (OZONE.ModEventAcknowledge, OZONE.ModEventTakedown)


class Subject(NamedTuple):
    """A post in one version, as Ozone names it."""

    uri: str
    cid: str


class Labeler:
    """What the bot's account, `did`, may do as a moderator of a labeler. `close` it in the end.

    `client` is one that has logged in: only then does it know its own server.
    """

    def __init__(self, client: AsyncClient, *, labeler: str, did: str) -> None:
        self._client = client.with_proxy("atproto_labeler", labeler)
        self._did = did

    async def close(self) -> None:
        """Close the connections."""
        await self._client.request.close()

    async def team(self) -> set[str]:
        """Return the DIDs of those who moderate; raises PermissionLost if the bot does not."""
        members: set[str] = set()
        cursor = None
        while True:
            params = {"cursor": cursor, "limit": PAGE}
            page = await answer(self._client.tools.ozone.team.list_members(params))
            members.update(member.did for member in page.members)
            if not (cursor := page.cursor):
                return members

    async def label(self, subject: Subject, label: str, *, key: str, comment: str) -> None:
        """Put the label on the post; nothing if that was done with this key."""
        await self._emit(subject, _labelling(comment, create=[label]), key=key)

    async def report(self, subject: Subject, *, key: str, comment: str) -> None:
        """Put the post before the moderators; nothing if that was done with this key."""
        event = OZONE.ModEventReport(report_type=REPORT_REASON, comment=comment)
        await self._emit(subject, event, key=key)

    async def comment(self, subject: Subject, *, key: str, comment: str) -> None:
        """Tell the moderators something about the post; nothing if that was done with this key."""
        await self._emit(subject, OZONE.ModEventComment(comment=comment), key=key)

    async def take_back(self, subject: Subject, *, label: str | None, key: str) -> UndoResult:
        """Negate the label, or acknowledge the report if None, unless a person's act stands."""
        params = {"subject": subject.uri, "limit": PAGE, "sort_direction": "desc"}
        page = await answer(self._client.tools.ozone.moderation.query_events(params))
        if (result := what_became(page.events, of=label, by=self._did)) is not None:
            return result
        comment = f"Taken back. [{key}]"
        event = (
            OZONE.ModEventAcknowledge(comment=comment)
            if label is None
            else _labelling(comment, negate=[label])
        )
        await self._emit(subject, event, key=f"{key}.undo")
        return UndoResult.UNDONE

    async def _emit(self, subject: Subject, event: Any, *, key: str) -> None:
        ref = models.ComAtprotoRepoStrongRef.Main(uri=subject.uri, cid=subject.cid)
        data = {"created_by": self._did, "event": event, "external_id": key, "subject": ref}
        try:
            await answer(self._client.tools.ozone.moderation.emit_event(data), is_write=True)
        except PlatformError as error:
            if _reason(error.__cause__) != "DuplicateExternalId":
                raise


async def answer(call: Awaitable[Any], *, is_write: bool = False) -> Any:
    """Return what the library gives; its errors become those of the seam."""
    try:
        return await call
    except AtProtocolError as error:
        raise _error(error, is_write=is_write) from error
    except Exception as error:  # atproto lets errors of the HTTP protocol out as they are
        kind = Unsure if is_write else PlatformError
        raise kind(f"Bluesky gave no answer: {type(error).__name__}: {error}") from error


def what_became(events: Sequence[Any], *, of: str | None, by: str) -> UndoResult | None:
    """Return what became of our label `of`, or of our report; None if it is still to be undone.

    `events` are those of one post, newest first. Ours is what `by` did. From the newest one
    back to where all was settled before, a person's event means that theirs is to stand.
    """
    relevant = [event for event in events if _is_about(event.event, of)]
    for place, event in enumerate(relevant):
        is_end = _is_end(event.event, of)
        if is_end and place > 0:
            return None
        if event.created_by != by:
            return UndoResult.KEPT_FOR_HUMAN
        if is_end:
            return UndoResult.UNDONE
    return None if relevant else UndoResult.UNDONE


def _labelling(comment: str, *, create: Sequence[str] = (), negate: Sequence[str] = ()) -> Any:
    return OZONE.ModEventLabel(
        create_label_vals=list(create), negate_label_vals=list(negate), comment=comment
    )


def _is_about(event: Any, label: str | None) -> bool:
    if label is None:
        return isinstance(event, REVIEWS + CLOSURES)
    is_label = isinstance(event, OZONE.ModEventLabel)
    return is_label and label in event.create_label_vals + event.negate_label_vals


def _is_end(event: Any, label: str | None) -> bool:
    return isinstance(event, CLOSURES) if label is None else label in event.negate_label_vals


def _error(error: AtProtocolError, *, is_write: bool) -> PlatformError:
    said = f"Bluesky did not do it: {error}"
    if isinstance(error, RateLimitExceededError):
        return RateLimited(said, retry_after=_seconds_to_wait(error))
    if isinstance(error, UnauthorizedError):
        hint = "Check the app password, and that the bot is a moderator of the labeler's team."
        return PermissionLost(said, hint=hint)
    if is_write and (isinstance(error, NetworkError) or _status(error) >= 500):
        return Unsure(said)
    return PlatformError(said)


def _seconds_to_wait(error: RateLimitExceededError) -> float:
    if error.reset_at is None:
        return error.retry_after or PATIENCE_SECONDS
    now = time.time()  # noqa: TID251 - the limit's end is a time of day
    return float(max(1.0, error.reset_at.timestamp() - now))


def _status(error: AtProtocolError) -> int:
    response = error.response if isinstance(error, RequestErrorBase) else None
    return response.status_code if response else 0


def _reason(error: BaseException | None) -> str:
    """Return the name that the server gave to the error, or nothing."""
    response = error.response if isinstance(error, RequestErrorBase) else None
    return getattr(response.content, "error", "") if response else ""

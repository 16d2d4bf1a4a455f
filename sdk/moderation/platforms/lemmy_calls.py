"""Calls of pythorhead, one at a time in a thread; Lemmy's errors become those of the seam.

    await calls(lemmy.post.get, 7)  -->  the answer, as a dict
       not_found, couldnt_find_post      ItemGone
       not_logged_in, not_a_mod...       PermissionLost
       rate_limit_error                  RateLimited, for a time that Lemmy does not tell
       no answer, or none of Lemmy's     Unsure if it was to change something, else PlatformError

pythorhead blocks. It raises plain Exceptions that end in the body of the answer, and keeps
neither the status nor the headers: what Lemmy said is read from there. Knows no posts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from pythorhead import Lemmy
from pythorhead.requestor import Request

from sdk.environment import Secret
from sdk.moderation.platform import (
    ItemGone,
    PermissionLost,
    PlatformError,
    RateLimited,
    Unsure,
)

TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 5.0
"""How long to leave Lemmy alone: its allowance grows again by the second."""
GONE = {"couldnt_find_post", "couldnt_find_post_report", "couldnt_find_object", "not_found"}
FORBIDDEN = {
    "incorrect_login",
    "instance_is_private",
    "not_a_mod_or_admin",
    "not_a_moderator",
    "not_an_admin",
    "not_logged_in",
    "person_is_banned_from_community",
    "site_ban",
}
_SAID = re.compile(r'\{"error":"([a-z_]+)"')


class Calls:
    """One Lemmy server, with the rights of one account."""

    def __init__(self) -> None:
        self._one = anyio.CapacityLimiter(1)

    async def log_in(self, url: str, *, user: str, password: Secret) -> Lemmy:
        """Return the library's client once it is logged in; raises PermissionLost."""
        lemmy = await self(Lemmy, url, raise_exceptions=True, request_timeout=TIMEOUT_SECONDS)
        await self(lemmy.log_in, user, str(password))
        return lemmy

    async def __call__(
        self, call: Callable[..., Any], *args: Any, is_write: bool = False, **named: Any
    ) -> Any:
        """Return what the method of the library gives; raises PlatformError."""
        try:
            return await to_thread.run_sync(partial(call, *args, **named), limiter=self._one)
        except Exception as error:
            raise _error(str(error), is_write=is_write) from error

    async def report_of(
        self, lemmy: Lemmy, post: int, *, community: int, by: int
    ) -> dict[str, Any] | None:
        """Return the one report of a post by a person; pythorhead cannot ask for one post's."""
        params = {"post_id": post, "community_id": community, "limit": 50}
        answer = await self(lemmy._requestor.api, Request.GET, "/post/report/list", params=params)
        for view in answer["post_reports"]:
            report: dict[str, Any] = view["post_report"]
            if (report["post_id"], report["creator_id"]) == (post, by):
                return report
        return None

    async def open_again(self, lemmy: Lemmy, report: int) -> None:
        """Take back that a report is resolved; pythorhead can resolve only."""
        body = {"report_id": report, "resolved": False}
        door = lemmy._requestor.api
        await self(door, Request.PUT, "/post/report/resolve", json=body, is_write=True)


def _error(text: str, *, is_write: bool) -> PlatformError:
    said = _SAID.search(text)
    code = said[1] if said else ""
    if code in GONE:
        return ItemGone(f"Lemmy says {code}.")
    if code in FORBIDDEN:
        hint = "Check the bot's password, and that it moderates the community."
        return PermissionLost(f"Lemmy says {code}.", hint=hint)
    if code == "rate_limit_error":
        return RateLimited("Lemmy says rate_limit_error.", retry_after=PATIENCE_SECONDS)
    if code:
        return PlatformError(f"Lemmy says {code}.")
    return (Unsure if is_write else PlatformError)(f"Lemmy gave no answer: {text}")

"""Calls of Mastodon.py, one at a time in a thread; its errors become those of the seam.

    await calls("status", id)  -->  Mastodon.status(id), in a thread
       404                       ItemGone
       401, 403                  PermissionLost
       429                       RateLimited, until the time that the server gives
       5xx or no answer          Unsure if it was to change something, else PlatformError

Mastodon.py blocks, and its state may be used by one thread at a time. Knows no items.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from mastodon import Mastodon, errors

from sdk.environment import Secret
from sdk.moderation.platform import (
    ItemGone,
    PermissionLost,
    PlatformError,
    RateLimited,
    Unsure,
)

TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 60.0
"""How long to leave a server alone that does not say for how long."""


class Calls:
    """One server, with the rights of one token. `close` it in the end."""

    def __init__(self, url: str, *, token: Secret) -> None:
        self._one = anyio.CapacityLimiter(1)
        self._client = Mastodon(
            access_token=token,
            api_base_url=url,
            ratelimit_method="throw",
            request_timeout=TIMEOUT_SECONDS,
        )

    def __repr__(self) -> str:
        return f"Calls({self._client.api_base_url})"

    def close(self) -> None:
        """Close the connections."""
        self._client.session.close()

    async def __call__(self, name: str, *args: Any, is_write: bool = False, **named: Any) -> Any:
        """Return what the method of the library gives; raises PlatformError."""
        call: Callable[[], Any] = partial(getattr(self._client, name), *args, **named)
        try:
            return await to_thread.run_sync(call, limiter=self._one)
        except errors.MastodonError as error:
            raise self._error(error, doing=name, is_write=is_write) from error

    def _error(self, error: errors.MastodonError, *, doing: str, is_write: bool) -> PlatformError:
        said = f"Mastodon did not do {doing}: {', '.join(str(part) for part in error.args if part)}"
        match error:
            case errors.MastodonNotFoundError():
                return ItemGone(said)
            case errors.MastodonRatelimitError():
                return RateLimited(said, retry_after=self._seconds_to_wait())
            case errors.MastodonUnauthorizedError():
                return PermissionLost(said, hint="Make a new access token, with all scopes.")
            case errors.MastodonAPIError(args=(_, 403, *_)):
                hint = "The bot's role needs the permission Manage Reports, its token all scopes."
                return PermissionLost(said, hint=hint)
            case errors.MastodonNetworkError() | errors.MastodonServerError() if is_write:
                return Unsure(said)
        return PlatformError(said)

    def _seconds_to_wait(self) -> float:
        reset: Any = self._client.ratelimit_reset
        if reset is None:
            return PATIENCE_SECONDS
        now = time.time()  # noqa: TID251 - Mastodon.py gives the time of day, by this very clock
        return float(max(1.0, reset - now))

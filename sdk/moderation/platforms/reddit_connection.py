"""The connection to Reddit: settings, the library's client, and what its errors mean.

RedditSettings --> connection --> asyncpraw.Reddit
an error of the library --translated--> RateLimited, PermissionLost, Unsure, PlatformError
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from asyncpraw import Reddit
from asyncpraw.exceptions import AsyncPRAWException, RedditAPIException
from asyncprawcore import exceptions as core
from msgspec import Struct

from sdk.environment import Secret
from sdk.moderation.platform import PermissionLost, PlatformError, RateLimited, Unsure

LIMITED_SECONDS = 60.0
"""How long to wait where Reddit asks for patience and does not say how much."""
PERMISSIONS = (
    "Check the PINCLIP_REDDIT_ variables, that the token has the scopes which "
    "docs/guides/reddit.md lists, and that the account moderates the community."
)


class RedditSettings(Struct, frozen=True, kw_only=True):
    """What the Reddit adapter needs to know."""

    reddit_client_id: str
    """Id of the app, from reddit.com/prefs/apps."""
    reddit_client_secret: Secret
    """Secret of the app, from the same page."""
    reddit_refresh_token: Secret
    """Lets the app act for the moderator's account, until it is revoked."""
    reddit_subreddit: str
    """Name of the community to watch, without r/."""
    reddit_flair: str = "Likely AI-made"
    """Flair that `label` gives a post, at most 64 characters."""

    def check(self) -> Iterator[str]:
        """Tell what cannot work."""
        if not 0 < len(self.reddit_flair) <= 64:
            yield (
                f"PINCLIP_REDDIT_FLAIR has {len(self.reddit_flair)} characters: give 1 to 64, "
                "Reddit takes no more."
            )


def connection(
    settings: RedditSettings,
    *,
    oauth_url: str = "https://oauth.reddit.com",
    reddit_url: str = "https://www.reddit.com",
) -> Reddit:
    """Return the library's client; it makes no request yet.

    The addresses are said here so that no praw.ini that lies about can send the secrets elsewhere.
    """
    return Reddit(
        client_id=settings.reddit_client_id,
        client_secret=settings.reddit_client_secret,
        refresh_token=settings.reddit_refresh_token,
        user_agent=f"server:pinclip:{version('pinclip')} (for r/{settings.reddit_subreddit})",
        check_for_updates=False,
        oauth_url=oauth_url,
        reddit_url=reddit_url,
    )


@contextmanager
def translated(*, is_write: bool = False) -> Iterator[None]:
    """Raise what the library raises as the PlatformError that it means."""
    try:
        yield
    except (core.AsyncPrawcoreException, AsyncPRAWException) as error:
        raise _meaning(error, is_write=is_write) from error


def _meaning(error: Exception, *, is_write: bool) -> PlatformError:
    match error:
        case core.TooManyRequests():
            wait = float(error.retry_after or LIMITED_SECONDS)
            return RateLimited("Reddit asks for patience.", retry_after=wait)
        case RedditAPIException() if (limit := limited_seconds(error)) is not None:
            return RateLimited(f"Reddit asks for patience: {error}.", retry_after=limit)
        case core.Forbidden() | core.InsufficientScope() | core.InvalidToken():
            return PermissionLost(f"Reddit refuses: {error}.", hint=PERMISSIONS)
        case core.OAuthException():
            return PermissionLost(f"Reddit does not take the token: {error}.", hint=PERMISSIONS)
        case core.ServerError() | core.RequestException() | core.BadJSON():
            kind = Unsure if is_write else PlatformError
            return kind(f"Reddit gave no usable answer: {error}.")
        case core.ResponseException() if error.response.status in (400, 401) and (
            type(error) is core.ResponseException  # by the token's own address
        ):
            return PermissionLost(f"Reddit does not take the app: {error}.", hint=PERMISSIONS)
    return PlatformError(f"Reddit refuses the request: {error}.")


def limited_seconds(error: RedditAPIException) -> float | None:
    """Return what "try again in 9 minutes" says in seconds, or None if nothing is limited."""
    messages = [one.message or "" for one in error.items if one.error_type == "RATELIMIT"]
    if not messages:
        return None
    found = re.search(r"(\d+) (second|minute)", messages[0])
    if not found:
        return LIMITED_SECONDS
    return float(found[1]) * (60 if found[2] == "minute" else 1)

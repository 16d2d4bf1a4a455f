"""Posts of one Mastodon server as Items: from its API, and from the webhook of its administration.

    a post of the API   ------------------------------------------> item_of -> Item
    POST /statuses  -> X-Hub-Signature? -> {event, object: post} -> seen by all, with images?
                            401                 400                 no: 202, and nothing is kept
                                                                    yes: Posted, with an Item in it

The webhook tells of every post of the server, private ones too: of these nothing is kept, and of
the others no text. A request that is sent again later is the same delivery; nothing is believed of
it but which post to look at. Knows no bot, and makes no call.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from sdk.environment import Secret
from sdk.moderation.platform import Item

from .webhook_inbox import Kind, Posted, Refused, Row

EVENTS = frozenset({"status.created", "status.updated"})
OPEN_TO_ALL = frozenset({"public", "unlisted"})
"""Visibilities of posts that the bot, and anybody, can read by their address."""

Moment = Annotated[datetime, Meta(tz=True)]


class _Account(Struct):
    id: str
    acct: str
    roles: tuple[dict[str, Any], ...] = ()


class _Attached(Struct):
    type: str


class _Status(Struct):
    id: str
    created_at: Moment
    visibility: str
    account: _Account
    media_attachments: tuple[_Attached, ...]
    url: str | None = None
    edited_at: Moment | None = None


class _Told(Struct):
    event: str
    object: msgspec.Raw


def item_of(status: Any, *, cursor: str = "") -> Item:
    """Return a post, of the library or of the webhook, as an Item."""
    extra = {"account": str(status.account.id)}
    if roles := getattr(status.account, "roles", None):
        extra["roles"] = ",".join(str(role["name"]) for role in roles)
    return Item(
        id=str(status.id),
        revision=changed_at(status),
        cursor=cursor,
        url=status.url,
        author=status.account.acct,
        extra=extra,
    )


def changed_at(status: Any) -> str:
    """Return when a post was last changed, in letters that sort by time."""
    return moment(getattr(status, "edited_at", None) or status.created_at)


def moment(at: datetime) -> str:
    """Return a time in letters that sort by time, to the millisecond as Mastodon has it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def read_status(body: bytes, headers: Mapping[str, str], *, secret: Secret) -> Posted | None:
    """Return what to keep of a request of the webhook, None for what is not looked at.

    Raises Refused for what Mastodon did not sign with the secret, and for what cannot be read.
    """
    if not _is_signed(body, headers.get("x-hub-signature", ""), secret=secret):
        said = "X-Hub-Signature is not that of this body: set the signing secret of the webhook."
        raise Refused(401, "webhook_signature_invalid", said)
    try:
        told = msgspec.json.decode(body, type=_Told)
        if told.event not in EVENTS:
            return None
        status = msgspec.json.decode(told.object, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = f"This is no event of Mastodon: {error}. Leave the webhook's template empty."
        raise Refused(400, "event_unreadable", said) from error
    if status.visibility not in OPEN_TO_ALL or not _has_image(status):
        return None
    item = item_of(status)
    return Posted(Kind.STATUS, f"{item.id} {item.revision}", msgspec.json.encode(item))


def told_item(row: Row, *, cursor: str) -> Item:
    """Return the item of a row that `read_status` made."""
    item = msgspec.json.decode(row.body, type=Item)
    return msgspec.structs.replace(item, cursor=cursor)


def _is_signed(body: bytes, signature: str, *, secret: Secret) -> bool:
    wanted = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
    return hmac.compare_digest(wanted.encode(), signature.encode("latin-1"))


def _has_image(status: _Status) -> bool:
    return any(attached.type == "image" for attached in status.media_attachments)

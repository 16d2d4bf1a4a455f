"""Orders: the two forms of message between a bot and software of any other kind, as JSON.

    {"id": "7", "images": ["https://..."], "revision": "2"}     ItemLine: what is told to the bot
    {"type": "action", "key": "...", "item": "7", "kind": ...}  ActionOrder \
    {"type": "undo",   "key": "...", "item": "7", "kind": ...}  UndoOrder    > what the bot tells
    {"type": "notice", "key": "...", "item": "7", "text": ...}  NoticeOrder /

An order is told from the same order told again by its `type` and `key` together. Pure: how the
messages travel is for the adapters jsonl and webhook.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from sdk.errors import InputError
from sdk.moderation.platform import Action, Item, Media, Notice, PlatformError, UndoToken


class ItemLine(Struct, frozen=True, kw_only=True):
    """One item as the outside tells it. Fields that are not known are not read."""

    id: str
    images: tuple[str, ...]
    """URLs; on stdin also paths of files, from the folder where the bot was started."""
    revision: str = ""
    """Another one after each edit: the item is looked at again."""
    url: str | None = None
    author: str | None = None
    exempt: bool = False
    """True for what nothing must be done to, such as posts of moderators."""

    def item(self, *, cursor: str = "", **extra: str) -> Item:
        """Return it as an Item, with all that apply and undo need later."""
        return Item(
            id=self.id,
            revision=self.revision,
            cursor=cursor,
            url=self.url,
            author=self.author,
            extra={**extra, **({"exempt": "yes"} if self.exempt else {})},
        )


def read_item(data: bytes) -> ItemLine:
    """Return the item that JSON text holds; raises InputError."""
    try:
        return msgspec.json.decode(data, type=ItemLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"This is no item: {error}.",
            hint='Write it as {"id": "1", "images": ["https://example.org/a.jpg"]}.',
        ) from error


def media_of(image: str, name: str) -> Media:
    """Return an image that is told as a URL, or as bytes in a data: URL."""
    if not image.lower().startswith("data:"):
        return Media(id=name, url=image)

    async def read() -> bytes:
        head, _, data = image.partition(",")
        raw = unquote_to_bytes(data)
        try:
            return base64.b64decode(raw, validate=True) if head.endswith(";base64") else raw
        except binascii.Error as error:
            raise PlatformError(
                f"Image {name} of a post is a data: URL without good base64: {error}.",
                hint="Post it as data:image/png;base64, and the encoded bytes.",
            ) from error

    return Media(id=name, load=read)


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What the outside is told. `type` and `key` are the same however often it is told."""

    key: str
    item: str
    """The id of the item."""


class ActionOrder(Order, frozen=True, kw_only=True, tag="action"):
    """Do `kind` (report, label, quarantine or remove) to the item."""

    kind: str
    revision: str = ""
    url: str | None = None
    sha256: str
    scan_id: str
    text: str


class UndoOrder(Order, frozen=True, kw_only=True, tag="undo"):
    """Take back the action of the same `key`, unless a person has acted on the item since."""

    kind: str


class NoticeOrder(Order, frozen=True, kw_only=True, tag="notice"):
    """Tell the author, or the moderators, what was done or undone and how to object."""

    subject: str
    text: str
    appeal_url: str | None = None
    is_undo: bool = False


def action_order(item: Item, action: Action) -> ActionOrder:
    """Return the order to act."""
    return ActionOrder(
        key=action.key,
        item=item.id,
        kind=action.kind,
        revision=item.revision,
        url=item.url,
        sha256=action.sha256,
        scan_id=action.scan_id,
        text=action.text,
    )


def token_of(item: Item, action: Action) -> UndoToken:
    """Return what undo_order needs."""
    return UndoToken(kind=action.kind, data={"key": action.key, "item": item.id})


def undo_order(token: UndoToken) -> UndoOrder:
    """Return the order to take an action back."""
    return UndoOrder(key=token.data["key"], item=token.data["item"], kind=token.kind)


def notice_order(item: Item, notice: Notice) -> NoticeOrder:
    """Return the order to tell people; its key is made of what is told to whom."""
    told = msgspec.json.encode((item.id, item.revision, notice))
    return NoticeOrder(
        key=f"notice_{sha256(told).hexdigest()[:32]}",
        item=item.id,
        subject=notice.subject,
        text=notice.text,
        appeal_url=notice.appeal_url,
        is_undo=notice.is_undo,
    )

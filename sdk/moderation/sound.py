"""What adapters and policies hand over, made fit to be written down and read again. Pure.

    item, media   strangers wrote some of it: text that no UTF-8 has is replaced, and cut
    token         exactly as it was given, or not at all: an undo depends on it
    reason        an error as one printable line

Type hints bind nobody at run time. What is of the wrong type would be written without a word, and
no journal that holds it could be read any more; so it raises ValueError or TypeError here instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import structs

from sdk.commands.words import printable

from .platform import Item, Media, UndoToken
from .policy import Decision

LONGEST_TEXT = 8192
LONGEST_REASON = 1000

T = TypeVar("T")


def sound_item(given: Item) -> Item:
    """Return the item as the journal can hold it; its id and cursor are as given, or it raises."""
    clean = structs.replace(
        given,
        url=_clean(given.url),
        author=_clean(given.author),
        extra={name: _clean(value) for name, value in given.extra.items()},
    )
    return _kept(clean, Item)


def sound_media(given: Iterable[Media]) -> list[Media]:
    """Return the images, with ids and addresses that can be written down."""
    return [
        Media(_text(each.id), None if each.url is None else _text(each.url), each.load)
        for each in given
    ]


def sound_token(given: UndoToken) -> UndoToken:
    """Return the token if it can be read again as it is, else raise."""
    return _kept(given, UndoToken)


def sound_decision(given: Decision) -> Decision:
    """Return the decision if it can be read again as it is, else raise."""
    return _kept(given, Decision)


def reason(error: BaseException) -> str:
    """Return what an error says, and of what class it is, in a line."""
    return line(f"{type(error).__name__}: {error}")


def line(text: str) -> str:
    """Return the text as one printable line of bearable length."""
    return printable(text[:LONGEST_REASON])[:LONGEST_REASON]


def _kept(value: T, kind: type[T]) -> T:
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


def _clean(value: str | None) -> str | None:
    return _text(value) if isinstance(value, str) else value  # what is none is refused later


def _text(value: object) -> str:
    return str(value).encode(errors="replace").decode()[:LONGEST_TEXT]

"""Lists that are paged by the id of their last entry, newest first: what a query asks for. Pure.

    limit, cursor --asked--> Page --store: one more than fits--> cut --> entries, has_more, cursor
                    invalid_parameter, cursor_invalid

Ids sort by time, so that the last one on a page is where the next begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from sdk.codes import ProblemCode
from server import ids
from server.refused import Refused

PAGE_LIMIT = 100
"""Most entries on a page."""
PAGE_DEFAULT = 20


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Page(NamedTuple):
    """What is asked for: entries that are older than the id `before`, at most `size`."""

    size: int
    before: str | None

    @property
    def fetched(self) -> int:
        """How many the store is asked for: one more than fits tells whether there are more."""
        return self.size + 1

    def cut(self, found: Sequence[T]) -> tuple[tuple[T, ...], bool, str | None]:
        """Return what fits of what was found, whether there is more, and the next cursor."""
        has_more = len(found) > self.size
        return tuple(found[: self.size]), has_more, found[self.size - 1].id if has_more else None


def asked(*, limit: str | None, cursor: str | None, prefix: str) -> Page:
    """Return the page that a query asks for; ids of the list have this prefix. Raises Refused."""
    size = _size(limit)
    if cursor is not None and not ids.is_id(prefix, cursor):
        raise Refused(
            ProblemCode.CURSOR_INVALID, f"The cursor is {cursor[:64]!r}, not one of ours."
        )
    return Page(size, cursor)


def _size(text: str | None) -> int:
    if text is None:
        return PAGE_DEFAULT
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= PAGE_LIMIT:
        return int(text)
    raise Refused(
        ProblemCode.INVALID_PARAMETER,
        f"limit is {text[:40]!r}: give a whole number from 1 to {PAGE_LIMIT}.",
    )

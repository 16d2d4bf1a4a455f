"""What can be wrong with a set of images: one error, and the codes it comes with.

    empty_set  one_class  unknown_layout  unknown_folder  contradictory_labels  bad_manifest
    group_in_two_folds  near_duplicates_across_splits  too_many_unreadable  unreadable

The text is for people: what was found, what was expected, what to do. The code is for programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Code = Literal[
    "empty_set",
    "one_class",
    "unknown_layout",
    "unknown_folder",
    "contradictory_labels",
    "bad_manifest",
    "group_in_two_folds",
    "near_duplicates_across_splits",
    "too_many_unreadable",
    "unreadable",
]
SHOWN = 5
"""Examples that a message gives."""


class DataError(ValueError):
    """A set that cannot be used: `code` for programs, `detail` (also str) for people."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class UnreadableError(DataError):
    """One image that cannot be had: missing, outside the set's folder, or not decodable."""

    def __init__(self, detail: str) -> None:
        super().__init__("unreadable", detail)


def first(items: Iterable[object], *, separator: str = ", ") -> str:
    """Return the first few items for a message, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return separator.join(texts[:SHOWN]) + more

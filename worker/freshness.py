"""How long a host says that its answer stays as it is (RFC 9111, 4.2). Pure; never guesses.

    headers --read--> None: not a second          no-store, no-cache, private, Vary: *, or odd
                  `-> Freshness --seconds(now)-->  s-maxage, or max-age, or Expires - Date,
                                                   less Age, or less what Date shows it to be

A cache for browsers is lenient and repairs what it reads; here a doubt costs one fetch, and a
mistake a verdict about other bytes. So what is not well-formed, said twice or left unsaid is not
fresh, and nothing is made of Last-Modified. We are a shared cache, and send every host the same
request headers, so that no Vary but * matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

LIMIT_SECONDS = 3600.0
"""Longest time for which a host's word is taken."""

DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
"""The one form of a date that hosts may send."""
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = re.compile(rf'[ \t]*(?:({_NAME})(?:=({_NAME}|"[^"\\]*"))?)?[ \t]*(?:,|\Z)')
_SECONDS = re.compile(r"[0-9]{1,18}")
_FORBIDDEN = frozenset({"no-store", "no-cache", "private"})

Header = Callable[[str], Sequence[str]]
"""Name in lower case -> the values of all headers of that name."""


class Freshness(NamedTuple):
    """What an answer says of itself, in seconds; `date` is Unix time."""

    lifetime: float
    age: float
    date: float | None

    def seconds(self, now: float) -> float:
        """Return how long it is still fresh at this Unix time, the time it came; 0: it is not."""
        age = self.age if self.date is None else max(self.age, now - self.date)
        return min(LIMIT_SECONDS, max(0.0, self.lifetime - age))


def read(header: Header) -> Freshness | None:
    """Return what the headers of an answer say; None where it must not be used again unasked."""
    directives = _directives(",".join(header("cache-control")))
    is_forbidden = directives is None or not _FORBIDDEN.isdisjoint(directives)
    if directives is None or is_forbidden or "*" in ",".join(header("vary")):
        return None
    date = date_of(header("date")) if header("date") else None
    age = _seconds(header("age")) if header("age") else 0.0
    lifetime = _lifetime(directives, header, date)
    is_odd = lifetime is None or age is None or (date is None and header("date"))
    return None if is_odd else Freshness(lifetime or 0.0, age or 0.0, date)


def date_of(values: Sequence[str]) -> float | None:
    """Return the Unix time that a header names, if it does so once and as it should."""
    if len(values) != 1 or not DATE.fullmatch(values[0]):
        return None
    try:
        return parsedate_to_datetime(values[0]).timestamp()
    except ValueError:
        return None


def _lifetime(directives: dict[str, str], header: Header, date: float | None) -> float | None:
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return _seconds([directives[name]])
    expires = date_of(header("expires"))
    return None if expires is None or date is None else expires - date


def _directives(text: str) -> dict[str, str] | None:
    """Return the directives by name in lower case; None where one is not well-formed or twice."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _DIRECTIVE.match(text, at)
        if match is None:
            return None
        at, name = match.end(), (match[1] or "").lower()
        if name in found:
            return None
        if name:
            found[name] = (match[2] or "").strip('"')
    return found


def _seconds(values: Sequence[str]) -> float | None:
    is_number = len(values) == 1 and _SECONDS.fullmatch(values[0])
    return float(values[0]) if is_number else None

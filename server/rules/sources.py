"""Where a request may come from: the name it calls us by, the page it was sent from. Pure.

    Host     one of our names     else a name that somebody bent to our address (DNS rebinding)
    Origin   none, or ours        a program, or our own page
             another              a page of another site, or an extension: `page`
                                  it may ask if a publishable key names it; rules/keys.py asks
                                  again whether that is the key it brought

Names of this machine are always ours: no page of another site can have one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from sdk.codes import ProblemCode
from server.refused import Refused

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def check_host(host: str | None, names: Collection[str]) -> None:
    """Return if the Host header names us; `names` are in small letters. Raises Refused."""
    name = "" if host is None else name_of(host)
    if not name or not (name == "localhost" or name in names or _is_loopback(name)):
        raise _not_allowed(f"The Host header is {shown(host)}, which is not this server's name.")


def page_of(origins: Sequence[str], host: str | None) -> str | None:
    """Return the origin of a page that is not ours, or None: `origins` are the Origin headers."""
    if not origins:
        return None
    origin = ", ".join(origins).lower()
    is_ours = host is not None and origin in (f"http://{host.lower()}", f"https://{host.lower()}")
    return None if is_ours else origin


def check_page(method: str, page: str | None, known: Collection[str]) -> None:
    """Return if a page may send this. Reading is left to the browser, which shows it nothing.

    `known` are the origins that publishable keys name. Raises Refused.
    """
    if page is not None and method not in _SAFE and page not in known:
        raise _not_allowed(f"The request comes from a page of {shown(page)}.")


def name_of(host: str) -> str:
    """Return the name of a Host header, without port and brackets; empty if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    is_plain = parts.netloc == host and "@" not in host
    return (parts.hostname or "") if is_plain else ""


def shown(text: str | None) -> str:
    """Write what a caller sent so that it fits into a sentence."""
    return repr(text if text is None or len(text) <= 80 else f"{text[:80]}...")


def _not_allowed(detail: str) -> Refused:
    return Refused(ProblemCode.ORIGIN_NOT_ALLOWED, detail)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False

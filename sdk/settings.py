"""ClientSettings: where the server is and which key to show it, each with a default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from msgspec import Struct

from .environment import Secret, inherited, load


class ClientSettings(Struct, frozen=True, kw_only=True):
    """Settings of a client; what the caller passes goes before the environment."""

    api_key: Secret = Secret("")
    """Key sent to the server as a bearer token; empty sends none, which a loopback server takes."""
    base_url: str = "http://127.0.0.1:8417"
    """Address of the server that clients ask, up to but without /v1."""

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        if not _is_address(self.base_url):
            yield (
                f"PINCLIP_BASE_URL (base_url) is {_shown(self.base_url)!r}: set it to an "
                "http or https address without a query, such as http://127.0.0.1:8417."
            )
        elif self.api_key and "@" in urlsplit(self.base_url).netloc:
            yield (
                "PINCLIP_BASE_URL (base_url) has a user name, which would be sent in the place of "
                "PINCLIP_API_KEY (api_key): take one of them away."
            )
        if not all("!" <= letter <= "~" for letter in self.api_key):
            yield (
                "PINCLIP_API_KEY (api_key) has a blank, a line break or a letter that is not "
                "ASCII: copy the key again."
            )


def read(*, api_key: str | None = None, base_url: str | None = None) -> ClientSettings:
    """Return the settings, each from its argument if given, else from the environment.

    Raises environment.SettingsError with every fault.
    """
    environ = inherited()
    given = {"PINCLIP_API_KEY": api_key, "PINCLIP_BASE_URL": base_url}
    environ.update({name: text for name, text in given.items() if text is not None})
    return load(ClientSettings, environ)


def _shown(text: str) -> str:
    """Return an address without what may be secret: name, password, query."""
    return re.sub(r"//[^/?#]*@", "//", text).split("?")[0]


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return bool(
        parts.scheme in ("http", "https")
        and parts.hostname
        and port != 0
        and not parts.query
        and not parts.fragment
        and text.isprintable()
        and " " not in text
    )

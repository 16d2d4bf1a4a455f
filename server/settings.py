"""ServerSettings: what one API process may be told, each with a default and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta, Struct, field

from sdk.environment import Secret
from worker.contract import RedisSettings
from worker.guard import faults_of_allowed

from .rules.sources import name_of


class OnFailure(StrEnum):
    """What is said of an image that could not be judged."""

    ACCEPT = "accept"
    REJECT = "reject"


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Settings of an API process; read by sdk.environment.load."""

    redis: RedisSettings = field(default_factory=RedisSettings)
    host: str = "127.0.0.1"
    """Address the API listens on. Other than loopback is taken once there is an API key."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which callers may ask for the API besides its address, comma-separated; each is what
    a Host header has before the port."""
    port: int = 8417
    """TCP port the API listens on."""
    database_url: Annotated[Secret, Meta(extra={"env": "DATABASE_URL"})] = Secret("")
    """postgresql:// address of the records; empty means SQLite in PINCLIP_STATE_DIR."""
    queue_limit: int = 10_000
    """Most scans that may wait before new ones are refused with queue_full; fewer where that is
    more than 120 s of work, half for bulk."""
    fetch_allow_networks: tuple[str, ...] = ()
    """Networks in CIDR form that may be fetched although they are not public, comma-separated."""
    fetch_allow_ports: tuple[int, ...] = ()
    """Ports that may be fetched besides 80 and 443, comma-separated."""
    receipt_key: Secret = Secret("")
    """What receipts are signed with, 32 bytes in base64, for hosts that serve together; empty:
    receipt.key in PINCLIP_STATE_DIR, made at first use."""
    retention_days: int = 190
    """Days after which a final scan is erased with all that tells of it, unless its appeal is open;
    0: never."""
    onnx: str = ""
    """File that `pinclip export --small` wrote, for browsers that judge by themselves; empty:
    none is given."""
    pictrs_on_failure: OnFailure = OnFailure.ACCEPT
    """What pict-rs hears of an image without a verdict: accept or reject."""
    trace_endpoint: str = ""
    """OTLP/HTTP address that traces are sent to; empty: none."""
    log_level: str = "info"
    """Least severe level that is logged: debug, info, warning or error."""

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        if not 0 < self.port < 65536:
            yield f"PINCLIP_PORT is {self.port}: set it to a port from 1 to 65535."
        if self.queue_limit < 1:
            yield f"PINCLIP_QUEUE_LIMIT is {self.queue_limit}: set it to 1 or more."
        if self.retention_days < 0:
            yield (
                f"PINCLIP_RETENTION_DAYS is {self.retention_days}: set it to 0 (keep for ever) or "
                "more."
            )
        if self.database_url and not self.database_url.startswith("postgresql://"):
            yield "DATABASE_URL does not begin with postgresql://: correct it, or unset it."
        yield from faults_of_allowed(self.fetch_allow_networks, self.fetch_allow_ports)
        yield from self._check_host()

    @property
    def is_local(self) -> bool:
        """True if only this machine can reach the API."""
        return self.host == "localhost" or ip_address(self.host).is_loopback

    def _check_host(self) -> Iterator[str]:
        for name in self.allowed_hosts:
            if not name or name_of(name) != name.lower():
                yield (
                    f"PINCLIP_ALLOWED_HOSTS has {name!r}: set it to names or IPv4 addresses alone, "
                    "without scheme and port, such as api.example.com."
                )
        if self.host == "localhost":
            return
        try:
            is_any = ip_address(self.host).is_unspecified
        except ValueError:
            yield f"PINCLIP_HOST is {self.host!r}: set it to an IP address such as 127.0.0.1."
            return
        if is_any and not self.allowed_hosts:
            yield (
                f"PINCLIP_HOST is {self.host}, which stands for every address, and no name is "
                "known by which callers may ask: set PINCLIP_ALLOWED_HOSTS to that of the server, "
                "such as api.example.com."
            )

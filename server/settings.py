"""ServerSettings: what one API process may be told, each with a default and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta, Struct, field

from sdk.environment import Secret
from worker.contract import RedisSettings
from worker.guard import faults_of_allowed


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Settings of an API process; read by sdk.environment.load."""

    redis: RedisSettings = field(default_factory=RedisSettings)
    host: str = "127.0.0.1"
    """Address the API listens on. Only loopback is taken until API keys exist."""
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
    log_level: str = "info"
    """Least severe level that is logged: debug, info, warning or error."""

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        if not 0 < self.port < 65536:
            yield f"PINCLIP_PORT is {self.port}: set it to a port from 1 to 65535."
        if self.queue_limit < 1:
            yield f"PINCLIP_QUEUE_LIMIT is {self.queue_limit}: set it to 1 or more."
        if self.database_url and not self.database_url.startswith("postgresql://"):
            yield "DATABASE_URL does not begin with postgresql://: correct it, or unset it."
        yield from faults_of_allowed(self.fetch_allow_networks, self.fetch_allow_ports)
        yield from self._check_host()

    def _check_host(self) -> Iterator[str]:
        if self.host == "localhost":
            return
        try:
            is_loopback = ip_address(self.host).is_loopback
        except ValueError:
            yield f"PINCLIP_HOST is {self.host!r}: set it to an IP address such as 127.0.0.1."
            return
        if not is_loopback:
            yield (
                f"PINCLIP_HOST is {self.host}: there are no API keys yet, so anybody who reaches "
                "that address could scan. Set it to 127.0.0.1, and put an authenticating proxy "
                "in front to serve others."
            )

"""WorkerSettings: what one worker process may be told, each with a default and a sentence."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from .contract import RedisSettings
from .guard import faults_of_allowed


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """Settings of a worker process; read by sdk.environment.load."""

    redis: RedisSettings = field(default_factory=RedisSettings)
    detector: str = "pinclip.detector:load"
    """Module and function that loads the detector, as module:function."""
    weights: str = ""
    """Weights that score: a name of installed ones, or a folder; empty: the only ones installed."""
    engine: str = "auto"
    """What runs the model: auto, openvino or torch."""
    precision: str = "auto"
    """Number format of the model: auto, float32, bfloat16 or int8."""
    worker_name: str = ""
    """Name of this worker in logs and in Redis; empty means host name and process id."""
    batch_limit: int = 8
    """Most images scored in one forward pass."""
    in_flight: int = 32
    """Most images one worker works on at a time, three quarters of them bulk; scans of the same
    image count once."""
    decode_processes: int = 2
    """Child processes that decode images."""
    fetch_seconds: float = 20.0
    """Longest time for one image's fetch, redirects included."""
    fetch_allow_networks: tuple[str, ...] = ()
    """Networks in CIDR form that may be fetched although they are not public, comma-separated."""
    fetch_allow_ports: tuple[int, ...] = ()
    """Ports that may be fetched besides 80 and 443, comma-separated."""
    trace_endpoint: str = ""
    """OTLP/HTTP address that traces are sent to; empty: none."""
    log_level: str = "info"
    """Least severe level that is logged: debug, info, warning or error."""

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        for name in ("batch_limit", "in_flight", "decode_processes"):
            if getattr(self, name) < 1:
                yield f"PINCLIP_{name.upper()} is {getattr(self, name)}: set it to 1 or more."
        if self.fetch_seconds <= 0:
            yield f"PINCLIP_FETCH_SECONDS is {self.fetch_seconds}: set it above 0."
        yield from faults_of_allowed(self.fetch_allow_networks, self.fetch_allow_ports)
        yield from _choice("ENGINE", self.engine, ("auto", "openvino", "torch"))
        yield from _choice("PRECISION", self.precision, ("auto", "float32", "bfloat16", "int8"))
        yield from _choice("LOG_LEVEL", self.log_level, ("debug", "info", "warning", "error"))


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if value not in allowed:
        yield f"PINCLIP_{name} is {value!r}: set it to one of {', '.join(allowed)}."

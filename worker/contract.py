"""FRONT DESK: what server and worker agree on in Redis. Names, structs and codecs; no I/O.

    server                         Redis                              worker
    post(Entry)  ---------->  stream pinclip:scans, group workers  ----> claim = XREADGROUP
                 ---------->  stream pinclip:scans:bulk, the same  ----> what is not bulk first
    ring()       ---------->  RQ queue pinclip: tickets            ----> jobs.drain, no arguments
                                                                  beat: XCLAIM JUSTID (lease)
    collect      <----------  stream pinclip:results              <---- complete = MULTI
                                                                         XADD + XACK + XDEL
    /readyz      <----------  key pinclip:worker:{name}, expires  <---- every few seconds
    /v1/models   <----------  key pinclip:papers:{model}, expires <---- once, kept by beats

An Entry is a scan as the worker needs it; an Outcome is all that the worker learnt. The lease
is the entry's idle time, the attempt its delivery count. Redis may be wiped at any moment: the
records (SQL) are the truth, and the collector posts again what Redis no longer holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from sdk.wire import (
    Declaration,
    Input,
    InputKind,
    Model,
    OperatingPoint,
    PointName,
    Priority,
    Reason,
    ScanError,
    Status,
    Verdict,
)

SCANS = "pinclip:scans"
"""Stream of entries that wait for a worker or are held by one."""
BULK_SCANS = "pinclip:scans:bulk"
"""The same for entries of priority bulk."""
STREAMS = {Priority.INTERACTIVE: SCANS, Priority.BULK: BULK_SCANS}
"""Stream of each priority, in the order in which workers look."""
WORKERS = "workers"
"""Consumer group of SCANS and of BULK_SCANS; a consumer is one worker process."""
BULK_TURN = 8
"""Each batch of this number is looked for in BULK_SCANS first, so that bulk never starves."""
RESULTS = "pinclip:results"
"""Stream of outcomes that wait for the collector."""
COLLECTORS = "collectors"
"""Consumer group of RESULTS."""
QUEUE = "pinclip"
"""Name of the RQ queue that carries tickets."""
DRAIN = "worker.jobs.drain"
"""The one function a ticket may name. A worker refuses a job that names another."""
FIELD = "v"
"""The one field of a stream entry: the encoded struct."""

LEASE_SECONDS = 30.0
"""How long a claim may go unrenewed before another worker takes it over."""
BEAT_SECONDS = 10.0
"""How often a worker renews what it holds."""
ATTEMPT_LIMIT = 3
"""Deliveries of one entry before the scan fails as worker_lost."""
WORKER_BEAT_SECONDS = 3.0
"""How often a worker says that it is alive and ready to score."""
WORKER_EXPIRES_SECONDS = 15
"""How long a worker counts as alive after its last beat."""
PAPERS_EXPIRE_SECONDS = 60
"""How long a model's papers are kept after the last beat of a worker that has it."""
PAPER_LIMIT_BYTES = 64 * 1024
"""Largest paper that is taken along."""
DEADLINE_SECONDS = 900.0
"""How long after acceptance a scan must be final; past that it fails as deadline_exceeded."""
UPLOAD_SECONDS = 900.0
"""How long an upload that no scan has named is kept."""
UPLOAD_LIMIT_BYTES = 20 * 1024 * 1024
"""Largest image taken, by upload or by fetch."""
SOCKET = "valkey.sock"
"""Name of the embedded server's socket in the state folder."""
SOCKET_PATH_LIMIT = 100
"""Longest path of a unix socket, in bytes; systems differ between 103 and 107."""


class RedisSettings(Struct, frozen=True, kw_only=True):
    """Where Redis is."""

    redis_url: Annotated[str, Meta(extra={"env": "REDIS_URL"})] = ""
    """redis://, rediss:// or unix:// address; empty: the embedded server in PINCLIP_STATE_DIR."""
    state_dir: Path = Path("~/.local/state/pinclip").expanduser()
    """Folder of the database, uploads and the embedded Redis; server and worker share it."""
    redis_timeout_seconds: float = 0.5
    """Longest wait for one answer of Redis before it counts as down."""

    @property
    def address(self) -> str:
        """The URL to connect to."""
        return self.redis_url or f"unix://{quote(str(self._socket))}"

    def check(self) -> Iterator[str]:
        """Yield a sentence for each rule that these values break."""
        if not self.redis_url and len(str(self._socket).encode()) > SOCKET_PATH_LIMIT:
            yield (
                f"PINCLIP_STATE_DIR makes the socket {self._socket}, which is longer than the "
                f"{SOCKET_PATH_LIMIT} bytes a socket's path may have: set it to a shorter folder."
            )

    @property
    def _socket(self) -> Path:
        return self.state_dir.absolute() / SOCKET


class Entry(Struct, frozen=True, kw_only=True):
    """A scan as the worker needs it. `deadline` is Unix time in seconds."""

    scan_id: str
    kind: InputKind
    operating_point: PointName
    deadline: float
    url: str | None = None
    upload_id: str | None = None
    request_id: str = ""
    priority: Priority = Priority.INTERACTIVE
    traceparent: str | None = None
    """Which span caused this (W3C); None: it is not traced."""


class Outcome(Struct, frozen=True, kw_only=True):
    """All that a worker learnt of one scan; `status` is completed or failed."""

    scan_id: str
    attempt: int
    worker: str
    status: Status
    input: Input
    verdict: Verdict | None = None
    score: float | None = None
    probability: float | None = None
    operating_point: OperatingPoint | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()
    declaration: Declaration | None = None
    model: Model | None = None
    error: ScanError | None = None
    judge: str = ""
    """Digest of all that decided besides the image and the point; empty: not to be given again."""
    fresh_until: float | None = None
    """Until this Unix time the URL's hosts vouch for the bytes; None: they do not."""
    seconds: dict[str, float] = {}
    """What the time went to: wait, and what was done for this scan of fetch, decode, score."""


class WorkerBeat(Struct, frozen=True, kw_only=True):
    """What a live worker says of itself; `at` is Unix time in seconds."""

    name: str
    model: Model
    engine: str
    precision: str
    device: str
    at: float
    judge: str = ""
    """What its outcomes will name as theirs."""
    calibration_id: str = ""


class Papers(Struct, frozen=True, kw_only=True):
    """What came with a model's weights for people to read: its card, and its gate report.

    `card` is Markdown; `gate_report` JSON, as `pinclip gate OLD NEW --json` prints it.
    """

    card: str | None = None
    gate_report: str | None = None


def worker_key(name: str) -> str:
    """Key of a worker's beat; it expires when the worker stops."""
    return f"pinclip:worker:{name}"


def papers_key(weights_sha256: str, calibration_id: str) -> str:
    """Key of a model's papers; it expires when no worker has the model any more."""
    return f"pinclip:papers:{weights_sha256}:{calibration_id}"


def phase_key(scan_id: str) -> str:
    """Key that holds `fetching` or `scoring` while a worker has the scan; it expires."""
    return f"pinclip:phase:{scan_id}"


def upload_path(state_dir: Path, upload_id: str) -> Path:
    """File that holds an upload's bytes. `upload_id` must be one that we made."""
    return state_dir / "uploads" / upload_id


def encode(struct: Entry | Outcome | WorkerBeat | Papers) -> bytes:
    """Write a struct as it travels through Redis (JSON)."""
    return msgspec.json.encode(struct)


_entry = msgspec.json.Decoder(Entry)
_outcome = msgspec.json.Decoder(Outcome)
_beat = msgspec.json.Decoder(WorkerBeat)
_papers = msgspec.json.Decoder(Papers)


def decode_entry(data: bytes) -> Entry:
    """Read an Entry; raises msgspec.DecodeError for bytes that are not one."""
    return _entry.decode(data)


def decode_outcome(data: bytes) -> Outcome:
    """Read an Outcome; raises msgspec.DecodeError for bytes that are not one."""
    return _outcome.decode(data)


def decode_beat(data: bytes) -> WorkerBeat:
    """Read a WorkerBeat; raises msgspec.DecodeError for bytes that are not one."""
    return _beat.decode(data)


def decode_papers(data: bytes) -> Papers:
    """Read Papers; raises msgspec.DecodeError for bytes that are not one."""
    return _papers.decode(data)

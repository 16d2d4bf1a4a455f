"""Who waits for what in a worker: scans, the getting of bytes, and the looks at an image.

    Held   a scan                        ends alone: its own deadline, operating point, lease
    Get    one fetch of one URL          for all scans of that URL   --+
    Get    one fetch of another URL                                  --+--> same bytes: one Look
    Look   decode, forward, confirm      for all scans of those bytes

A hundred scans of one image are thus a hundred Held, a Get and a Look. No scan leads the others:
work goes on as long as one of them waits for it, and what they share fails only by what they
share. A suspect, whose worker died, has a Get and a Look of its own, which nobody else joins.
A Get or a Look is bulk as long as only bulk scans wait for it.

Plain data; only the thread that works the shift writes it, but for what a step brings (`prepared`,
`spans`), which is read once the step is over. Others ask a Look whether it is bulk, and may be told
what was true a moment ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace

from sdk.wire import Input, InputKind, Priority

from .contract import Entry
from .intake import Bytes, Prepared
from .known import Again, Known, Part, described, of
from .ports import Claim, Featured, Reading


class Span(NamedTuple):
    """What time went to, from one Unix time to another."""

    stage: str
    began: float
    ended: float


@dataclass(eq=False)
class Held:
    """One claimed scan."""

    claim: Claim
    since: float
    input: Input
    at: Get | Look | None = None
    """What it waits for."""
    fresh_until: float | None = None
    """Until this Unix time the hosts of its URL vouch for its bytes; None: they do not."""
    is_cached: bool = False
    """It was judged from what was known before, and no model ran for it."""
    is_over: bool = False
    """It has an outcome or was given back."""
    spans: list[Span] = field(default_factory=list)
    """What was done for it, and for those who joined it: theirs cost no time."""

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took."""
        spent: dict[str, float] = {}
        for stage, began, ended in self.spans:
            spent[stage] = spent.get(stage, 0.0) + max(0.0, ended - began)
        return spent

    def __repr__(self) -> str:
        return f"Held({self.claim.entry.scan_id}, attempt {self.claim.attempt})"

    @property
    def is_suspect(self) -> bool:
        """True if a worker died while it held this scan."""
        return self.claim.attempt > 1

    @property
    def is_bulk(self) -> bool:
        """True if no person waits for it."""
        return self.claim.entry.priority is Priority.BULK


@dataclass(eq=False)
class Get:
    """The getting of the bytes at one place."""

    place: str
    is_suspect: bool
    waiting: list[Held] = field(default_factory=list)
    got: Bytes | None = None
    look: Look | None = None
    """Where its scans went on to; those that come meanwhile follow them there."""
    spans: list[Span] = field(default_factory=list)

    @property
    def is_bulk(self) -> bool:
        """True if only bulk waits for these bytes."""
        return all(held.is_bulk for held in self.waiting)

    def join(self, held: Held) -> None:
        """Let the scan wait for these bytes."""
        self.waiting.append(held)
        held.at = self


@dataclass(eq=False)
class Look:
    """The look at one image, from its bytes to what is known of it."""

    got: Bytes
    is_suspect: bool
    gets: list[Get] = field(default_factory=list)
    waiting: list[Held] = field(default_factory=list)
    prepared: Prepared | None = None
    """What decoding told; its arrays went to the engine."""
    known: Known | None = None
    frame: int | None = None
    """The frame that is being scored again, re-encoded."""
    is_claimed: bool = False
    """Other workers leave these bytes to us."""
    is_news: bool = False
    """`known` holds what no cache has."""
    features: dict[Part, bytes] = field(default_factory=dict)
    """What the model's head read, where the detector tells."""
    promise: Future[Any] | None = None
    """What the engine owes."""
    spans: list[Span] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Of the image's bytes, hex."""
        return self.got.sha256

    @property
    def is_bulk(self) -> bool:
        """True if only bulk waits for this image."""
        return all(held.is_bulk for held in self.waiting)

    def learn(self, readings: Sequence[Reading]) -> None:
        """Take what the model said: of all frames, or of the one that was re-encoded."""
        found = tuple(of(reading) for reading in readings)
        parts = [Part(frame) for frame in range(len(readings))]
        if self.known is not None and self.frame is not None:
            parts = [Part(self.frame, is_reencoded=True)]
            self.known = replace(self.known, again=Again(self.frame, found[0]))
        elif self.prepared is not None:
            about = self.prepared
            self.known = Known(found, about.mime, about.facts, about.declaration)
        for part, reading in zip(parts, readings, strict=True):
            if isinstance(reading, Featured) and reading.features is not None:
                self.features[part] = reading.features
        self.is_news = True

    def join(self, held: Held, get: Get) -> None:
        """Let the scan, whose bytes came by `get`, wait for this look."""
        self.waiting.append(held)
        held.at = self
        got = get.got or self.got
        held.input, held.fresh_until = _as_asked(held.claim.entry, got), got.fresh_until
        self._describe(held)

    def describe(self) -> None:
        """Write into the inputs of all who wait what is known of the picture by now."""
        for held in self.waiting:
            self._describe(held)

    def _describe(self, held: Held) -> None:
        about = self.known or self.prepared
        if about is not None:
            held.input = described(held.input, about.mime, about.facts)


def credit(at: Get | Look) -> None:
    """Let the scan that has waited longest have the time that was spent."""
    if at.waiting:
        at.waiting[0].spans += at.spans
        at.spans = []


def input_of(entry: Entry) -> Input:
    """Return what an entry tells of its input."""
    fetched_by = "client" if entry.kind is InputKind.UPLOAD else "server"
    return Input(kind=entry.kind, url=entry.url, fetched_by=fetched_by)


def _as_asked(entry: Entry, got: Bytes) -> Input:
    """Return the input as got, under the URL as this scan wrote it."""
    return got.input if got.input.url is None else replace(got.input, url=entry.url)

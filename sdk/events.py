"""What a delivery says has happened: a struct for each type, so that its data needs no guess.

    Event                        id, type, timestamp, sequence, data, replay_of
      ScanCompletedEvent         data.scan
      ScanFailedEvent            data.scan
      ScanVerdictChangedEvent    data.scan, data.previous, data.cause
      AppealCreatedEvent         data.appeal
      AppealDecidedEvent         data.appeal
      BatchCompletedEvent        data.batch
      WebhookDisabledEvent       data.endpoint
      PingEvent                  data.endpoint
      UnknownEvent               fields: what a newer server sent, as it came

Pure. Nothing here is to be trusted before webhooks.unwrap has verified it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from .wire import Appeal, Batch, Endpoint, Event, EventData, EventType, Scan, Verdict


class ScanData(EventData, frozen=True, kw_only=True):
    """The scan as it is by the event."""

    scan: Scan


class VerdictChange(EventData, frozen=True, kw_only=True):
    """The scan with its new verdict, the verdict before, and what changed it."""

    scan: Scan
    previous: Verdict
    cause: str


class AppealData(EventData, frozen=True, kw_only=True):
    """The appeal as it is by the event."""

    appeal: Appeal


class BatchData(EventData, frozen=True, kw_only=True):
    """The batch, all of it final."""

    batch: Batch


class EndpointData(EventData, frozen=True, kw_only=True):
    """The endpoint, without its secret."""

    endpoint: Endpoint


class ScanCompletedEvent(Event, frozen=True, kw_only=True):
    """A scan has its verdict."""

    data: ScanData


class ScanFailedEvent(Event, frozen=True, kw_only=True):
    """A scan is final and has no verdict; `data.scan.error` says why."""

    data: ScanData


class ScanVerdictChangedEvent(Event, frozen=True, kw_only=True):
    """A verdict is another than before: undo what was done on the old one."""

    data: VerdictChange


class AppealCreatedEvent(Event, frozen=True, kw_only=True):
    """Somebody disputes a verdict."""

    data: AppealData


class AppealDecidedEvent(Event, frozen=True, kw_only=True):
    """A person has decided about a dispute."""

    data: AppealData


class BatchCompletedEvent(Event, frozen=True, kw_only=True):
    """All scans of a batch are final."""

    data: BatchData


class WebhookDisabledEvent(Event, frozen=True, kw_only=True):
    """Another endpoint of yours is delivered to no more."""

    data: EndpointData


class PingEvent(Event, frozen=True, kw_only=True):
    """A test of the endpoint; nothing has happened."""

    data: EventData = EventData()


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event that this version does not know; answer 2xx and leave it.

    `fields` has its data as it came; `data` is empty.
    """

    data: EventData = EventData()
    fields: dict[str, Any]


AnyEvent: TypeAlias = (
    ScanCompletedEvent
    | ScanFailedEvent
    | ScanVerdictChangedEvent
    | AppealCreatedEvent
    | AppealDecidedEvent
    | BatchCompletedEvent
    | WebhookDisabledEvent
    | PingEvent
    | UnknownEvent
)


class _Head(Struct):
    type: str


class _Unread(Struct):
    id: str
    type: str
    timestamp: str
    sequence: int = 0
    data: dict[str, Any] = {}
    replay_of: str | None = None


_KINDS: dict[str, type[AnyEvent]] = {
    EventType.SCAN_COMPLETED: ScanCompletedEvent,
    EventType.SCAN_FAILED: ScanFailedEvent,
    EventType.SCAN_VERDICT_CHANGED: ScanVerdictChangedEvent,
    EventType.APPEAL_CREATED: AppealCreatedEvent,
    EventType.APPEAL_DECIDED: AppealDecidedEvent,
    EventType.BATCH_COMPLETED: BatchCompletedEvent,
    EventType.WEBHOOK_DISABLED: WebhookDisabledEvent,
    EventType.PING: PingEvent,
}


def read(body: bytes) -> AnyEvent:
    """Return the event that a body holds; raises msgspec.DecodeError or UnicodeDecodeError."""
    kind = _KINDS.get(msgspec.json.decode(body, type=_Head).type)
    if kind is not None:
        return msgspec.json.decode(body, type=kind)
    unread = msgspec.json.decode(body, type=_Unread)
    return UnknownEvent(
        id=unread.id,
        type=EventType(unread.type),
        timestamp=unread.timestamp,
        sequence=unread.sequence,
        fields=unread.data,
        replay_of=unread.replay_of,
    )

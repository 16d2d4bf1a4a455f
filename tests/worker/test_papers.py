"""What comes with a model for people to read: shown once, kept by beats, gone with its workers."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.valkey_server import Valkey
from worker.clock import SystemClock
from worker.contract import (
    PAPER_LIMIT_BYTES,
    PAPERS_EXPIRE_SECONDS,
    Papers,
    decode_beat,
    decode_papers,
    papers_key,
    worker_key,
)
from worker.ledger import StreamLedger
from worker.main import beating
from worker.testing import FixedDetector

KEY = papers_key(FixedDetector.weights_sha256, FixedDetector.calibration_id)
MOVING: Any = SimpleNamespace(is_moving=lambda: True)


class PaperedDetector(FixedDetector):
    """A Detector that is Documented."""

    def __init__(self, *, card: str | None = None, gate_report: str | None = None) -> None:
        super().__init__()
        self.card = card
        self.gate_report = gate_report


@pytest.fixture
def ledger(valkey: Valkey) -> Iterator[StreamLedger]:
    ledger = StreamLedger(valkey.url, worker="a", timeout_seconds=5)
    yield ledger
    ledger.close()


def _beat_once(ledger: StreamLedger, detector: FixedDetector) -> None:
    """Run a worker's beat for a moment: it beats before it waits."""
    with beating(ledger, MOVING, detector, SystemClock(), "a"):
        pass


def _shown(client: redis.Redis) -> Papers:
    stored = client.get(KEY)
    assert isinstance(stored, bytes)
    return decode_papers(stored)


def test_worker_shows_its_models_papers_with_its_first_beat(
    ledger: StreamLedger, client: redis.Redis
) -> None:
    _beat_once(ledger, PaperedDetector(card="# Card", gate_report="{}"))

    assert _shown(client) == Papers(card="# Card", gate_report="{}")
    assert 0 < client.ttl(KEY) <= PAPERS_EXPIRE_SECONDS
    beat = client.get(worker_key("a"))
    assert isinstance(beat, bytes)
    assert decode_beat(beat).calibration_id == FixedDetector.calibration_id


def test_restarted_worker_shows_what_its_weights_say_now(
    ledger: StreamLedger, client: redis.Redis
) -> None:
    _beat_once(ledger, PaperedDetector(card="before"))

    _beat_once(ledger, PaperedDetector(card="after"))

    assert _shown(client).card == "after"


def test_later_beats_keep_the_papers_and_bring_them_back_to_a_redis_that_lost_them(
    ledger: StreamLedger, client: redis.Redis
) -> None:
    _beat_once(ledger, PaperedDetector(card="# Card"))
    stored = client.get(worker_key("a"))
    assert isinstance(stored, bytes)
    beat = decode_beat(stored)
    client.expire(KEY, 5)

    ledger.show(beat, Papers(card="other"), is_first=False)
    assert _shown(client).card == "# Card", "they do not travel again"
    assert client.ttl(KEY) > 5
    client.flushall()
    ledger.show(beat, Papers(card="# Card"), is_first=False)

    assert _shown(client).card == "# Card"


def test_paper_that_is_too_long_stays_at_home(ledger: StreamLedger, client: redis.Redis) -> None:
    _beat_once(ledger, PaperedDetector(card="x" * (PAPER_LIMIT_BYTES + 1), gate_report="{}"))

    assert _shown(client) == Papers(card=None, gate_report="{}")


def test_detector_without_papers_is_as_good(ledger: StreamLedger, client: redis.Redis) -> None:
    _beat_once(ledger, FixedDetector())

    assert _shown(client) == Papers()

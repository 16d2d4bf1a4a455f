"""What is Redis's own in the worker's ledger: loss, damage, restarts. The law is in seams/."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest
import redis

from sdk.wire import Input, InputKind, Model, Priority, Status
from tests.valkey_server import Valkey, running
from worker.contract import (
    BULK_SCANS,
    FIELD,
    RESULTS,
    SCANS,
    STREAMS,
    WORKER_EXPIRES_SECONDS,
    WORKERS,
    Entry,
    Outcome,
    WorkerBeat,
    decode_beat,
    decode_outcome,
    encode,
    phase_key,
    worker_key,
)
from worker.ledger import PHASE_SECONDS, StreamLedger
from worker.ports import Claim, Unavailable

pytestmark = pytest.mark.redis

Make = Callable[..., Entry]


@pytest.fixture
def full(client: redis.Redis) -> Iterator[Callable[[], None]]:
    """Let Redis have less memory than it uses, until the end of the test."""
    yield lambda: client.config_set("maxmemory", "1")
    client.config_set("maxmemory", "0")


@pytest.fixture
def ledger(valkey: Valkey) -> Iterator[StreamLedger]:
    ledger = StreamLedger(valkey.url, worker="a")
    yield ledger
    ledger.close()


def _post(client: redis.Redis, *entries: Entry) -> None:
    for entry in entries:
        client.xadd(STREAMS[entry.priority], {FIELD: encode(entry)})


def _outcome(claim: Claim) -> Outcome:
    return Outcome(
        scan_id=claim.entry.scan_id,
        attempt=claim.attempt,
        worker="a",
        status=Status.COMPLETED,
        input=Input(kind=InputKind.URL),
    )


def test_ledger_finds_scans_that_were_posted_before_there_was_a_group(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    _post(client, entry("one"))

    assert [claim.entry for claim in ledger.claim(8)] == [entry("one")]


def test_ledger_goes_on_when_redis_was_wiped(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    _post(client, entry("one"), entry("bulk", priority=Priority.BULK))
    lost = ledger.claim(8)
    client.flushall()

    ledger.renew(lost)
    assert ledger.complete([(claim, _outcome(claim)) for claim in lost]) == [False, False]
    _post(client, entry("two"), entry("bulk2", priority=Priority.BULK))

    assert [claim.entry.scan_id for claim in ledger.claim(8)] == ["two", "bulk2"]


def test_ledger_completes_the_rest_when_one_stream_is_gone(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    _post(client, entry("one"), entry("bulk", priority=Priority.BULK))
    claims = ledger.claim(8)
    client.delete(BULK_SCANS)

    assert ledger.complete([(claim, _outcome(claim)) for claim in claims]) == [True, False]


def test_ledger_goes_on_with_what_an_earlier_version_left(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    # One stream, and entries that name no priority.
    client.xgroup_create(SCANS, WORKERS, id="0", mkstream=True)
    fields = msgspec.json.decode(encode(entry("one")))
    del fields["priority"]
    client.xadd(SCANS, {FIELD: msgspec.json.encode(fields)})

    (claim,) = ledger.claim(8)

    assert claim.entry == entry("one")
    assert ledger.complete([(claim, _outcome(claim))]) == [True]


def test_ledger_tells_entries_of_the_same_id_apart(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    # Redis makes an id of the millisecond: two streams may well give the same.
    client.xadd(SCANS, {FIELD: encode(entry("one"))}, id="1-1")
    client.xadd(BULK_SCANS, {FIELD: encode(entry("bulk", priority=Priority.BULK))}, id="1-1")
    one, bulk = ledger.claim(8)
    assert one.token != bulk.token

    ledger.release([bulk])

    assert ledger.complete([(one, _outcome(one))]) == [True]
    assert [claim.entry.scan_id for claim in ledger.claim(8)] == ["bulk"]


@pytest.mark.parametrize("stream", STREAMS.values())
def test_ledger_drops_what_is_no_entry(
    ledger: StreamLedger, client: redis.Redis, entry: Make, stream: str
) -> None:
    client.xadd(stream, {FIELD: b"\xff not json"})
    client.xadd(stream, {"other": b"field"})
    client.xadd(stream, {FIELD: b'{"scan_id": 1}'})
    client.xadd(stream, {FIELD: encode(entry("one"))})

    (claim,) = ledger.claim(8)

    assert claim.entry.scan_id == "one"
    assert client.xlen(stream) == 1
    assert client.xpending(stream, WORKERS)["pending"] == 1
    assert ledger.complete([(claim, _outcome(claim))]) == [True]
    assert client.xlen(stream) == 0


def test_ledger_takes_over_when_the_lease_has_really_run_out(
    valkey: Valkey, client: redis.Redis, entry: Make
) -> None:
    short = [StreamLedger(valkey.url, worker=name, lease_seconds=0.2) for name in "ab"]
    _post(client, entry("one"))
    short[0].claim(8)

    taken: list[Claim] = []
    while not taken:
        taken = short[1].claim(8)
        threading.Event().wait(0.01)

    assert [claim.attempt for claim in taken] == [2]
    for ledger in short:
        ledger.close()


def test_ledger_drops_an_expired_entry_that_somebody_deleted(
    valkey: Valkey, client: redis.Redis, entry: Make
) -> None:
    ledger = StreamLedger(valkey.url, worker="a", lease_seconds=0)
    _post(client, entry("one"))
    (claim,) = ledger.claim(8)
    client.xdel(SCANS, claim.token.partition(":")[0])

    assert ledger.claim(8) == []

    assert client.xpending(SCANS, WORKERS)["pending"] == 0
    ledger.close()


def test_ledger_keeps_leases_and_attempts_when_redis_is_killed(entry: Make) -> None:
    with running() as valkey:
        ledger = StreamLedger(valkey.url, worker="a")
        with redis.Redis.from_url(valkey.url) as client:
            _post(client, entry("one"))
        (claim,) = ledger.claim(8)

        valkey.kill()
        with pytest.raises(Unavailable):
            ledger.depth()
        valkey.start()

        assert ledger.claim(8) == []
        assert ledger.complete([(claim, _outcome(claim))]) == [True]
        ledger.close()


def test_ledger_claims_and_completes_when_redis_is_full(
    ledger: StreamLedger, client: redis.Redis, full: Callable[[], None], entry: Make
) -> None:
    # It must: what is done makes room, and nothing else does.
    _post(client, entry("one"), entry("two"), entry("bulk", priority=Priority.BULK))
    held = ledger.claim(1)
    full()
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.xadd(SCANS, {FIELD: b"refused"})

    held += ledger.claim(8)
    ledger.renew(held)
    answers = ledger.complete([(claim, _outcome(claim)) for claim in held])

    assert answers == [True, True, True]
    assert [decode_outcome(fields[FIELD.encode()]) for _, fields in client.xrange(RESULTS)] == [
        _outcome(claim) for claim in held
    ]
    assert ledger.depth() == 0


def test_ledger_publishes_nothing_when_redis_cannot_write(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    _post(client, entry("one"))
    (claim,) = ledger.claim(8)
    client.config_set("min-replicas-to-write", "1")  # as with a disk that fails
    try:
        with pytest.raises(Unavailable, match="NOREPLICAS"):
            ledger.complete([(claim, _outcome(claim))])
    finally:
        client.config_set("min-replicas-to-write", "0")

    assert ledger.complete([(claim, _outcome(claim))]) == [True]
    assert client.xlen(RESULTS) == 1


def test_ledger_says_what_redis_says_of_a_key_of_another_type(
    ledger: StreamLedger, client: redis.Redis, entry: Make
) -> None:
    _post(client, entry("one"))
    (claim,) = ledger.claim(8)
    client.set(SCANS, "no stream")

    with pytest.raises(Unavailable, match="WRONGTYPE"):
        ledger.complete([(claim, _outcome(claim))])


def test_ledger_raises_unavailable_when_redis_does_not_answer(valkey: Valkey, entry: Make) -> None:
    ledger = StreamLedger(valkey.url, worker="a", timeout_seconds=0.05)
    assert valkey.process is not None
    with redis.Redis.from_url(valkey.url) as other:
        other.client_pause(300)

        with pytest.raises(Unavailable):
            ledger.claim(8)

        other.client_unpause()
    ledger.close()


def test_phase_expires_by_itself(ledger: StreamLedger, client: redis.Redis, entry: Make) -> None:
    _post(client, entry("one"))

    ledger.phase(ledger.claim(8), "fetching")

    assert 0 < client.ttl(phase_key("one")) <= PHASE_SECONDS


def test_beat_tells_who_is_alive_and_expires(ledger: StreamLedger, client: redis.Redis) -> None:
    beat = WorkerBeat(
        name="a", model=Model("m", "0"), engine="e", precision="p", device="cpu", at=1.0
    )

    ledger.beat(beat)

    stored = client.get(worker_key("a"))
    assert isinstance(stored, bytes)
    assert decode_beat(stored) == beat
    assert 0 < client.ttl(worker_key("a")) <= WORKER_EXPIRES_SECONDS


def test_leave_forgets_the_worker(ledger: StreamLedger, client: redis.Redis, entry: Make) -> None:
    _post(client, entry("one"), entry("bulk", priority=Priority.BULK))
    ledger.complete([(claim, _outcome(claim)) for claim in ledger.claim(8)])

    ledger.leave()

    assert [client.xinfo_consumers(stream, WORKERS) for stream in STREAMS.values()] == [[], []]
    assert client.get(worker_key("a")) is None


@pytest.mark.parametrize("priority", Priority)
def test_leave_keeps_the_name_under_which_a_scan_is_held(
    ledger: StreamLedger, client: redis.Redis, entry: Make, priority: Priority
) -> None:
    _post(client, entry("one", priority=priority))
    ledger.claim(8)

    ledger.leave()

    assert client.xpending(STREAMS[priority], WORKERS)["pending"] == 1

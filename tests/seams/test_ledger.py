"""The law of ports.Ledger, on the fake and on a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest
import redis

from sdk.codes import ScanErrorCode
from sdk.wire import Input, InputKind, PointName, Priority, Status
from tests.valkey_server import Valkey, running
from worker.contract import (
    BULK_TURN,
    FIELD,
    LEASE_SECONDS,
    RESULTS,
    STREAMS,
    WORKERS,
    Entry,
    Outcome,
    decode_outcome,
    encode,
    phase_key,
)
from worker.ledger import StreamLedger
from worker.ports import Claim, Ledger, Refusal, Unavailable
from worker.testing import ManualClock, MemoryLedger

only_interactive = pytest.mark.parametrize("priority", [Priority.INTERACTIVE], indirect=True)


class World(Protocol):
    """Scans, of the world's priority unless told otherwise, and workers that may claim them."""

    def worker(self, name: str) -> Ledger: ...
    def post(self, *scan_ids: str, priority: Priority | None = None) -> None: ...
    def let_leases_run_out(self) -> None: ...
    def results(self) -> list[Outcome]: ...
    def phases(self, *scan_ids: str) -> list[str | None]: ...
    def break_down(self) -> None: ...


class MemoryWorld:
    def __init__(self, priority: Priority) -> None:
        self._priority = priority
        self._clock = ManualClock()
        self._first = MemoryLedger(self._clock, worker="first")
        self._made: dict[str, MemoryLedger] = {"first": self._first}

    def worker(self, name: str) -> Ledger:
        return self._made.setdefault(name, self._first.peer(name))

    def post(self, *scan_ids: str, priority: Priority | None = None) -> None:
        self._first.post(*(_entry(scan_id, priority or self._priority) for scan_id in scan_ids))

    def let_leases_run_out(self) -> None:
        self._clock.advance(LEASE_SECONDS + 1)

    def results(self) -> list[Outcome]:
        return self._first.results

    def phases(self, *scan_ids: str) -> list[str | None]:
        return [self._first.phases.get(scan_id) for scan_id in scan_ids]

    def break_down(self) -> None:
        for ledger in self._made.values():
            ledger.is_down = True


class RedisWorld:
    def __init__(self, valkey: Valkey, priority: Priority) -> None:
        self._priority = priority
        self._valkey = valkey
        self._client = redis.Redis.from_url(valkey.url)
        self._client.flushall()
        self._ledgers: list[StreamLedger] = []

    def worker(self, name: str) -> Ledger:
        ledger = StreamLedger(self._valkey.url, worker=name)
        self._ledgers.append(ledger)
        return ledger

    def post(self, *scan_ids: str, priority: Priority | None = None) -> None:
        pipe = self._client.pipeline(transaction=False)
        for scan_id in scan_ids:
            entry = _entry(scan_id, priority or self._priority)
            pipe.xadd(STREAMS[entry.priority], {FIELD: encode(entry)})
        pipe.execute()

    def let_leases_run_out(self) -> None:
        """Age every pending entry; a wait would do the same, and take as long."""
        for stream in STREAMS.values():
            for row in self._client.xpending_range(stream, WORKERS, "-", "+", 100):
                self._client.xclaim(
                    stream,
                    WORKERS,
                    row["consumer"],
                    0,
                    [row["message_id"]],
                    idle=int(LEASE_SECONDS * 1000),
                    justid=True,
                )

    def results(self) -> list[Outcome]:
        return [
            decode_outcome(fields[FIELD.encode()]) for _, fields in self._client.xrange(RESULTS)
        ]

    def phases(self, *scan_ids: str) -> list[str | None]:
        values = self._client.mget([phase_key(scan_id) for scan_id in scan_ids])
        return [value.decode() if value else None for value in values]

    def break_down(self) -> None:
        self._valkey.kill()

    def close(self) -> None:
        if self._valkey.process is None:
            self._valkey.start()
        for ledger in self._ledgers:
            ledger.close()
        self._client.close()


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture(params=list(Priority))
def priority(request: pytest.FixtureRequest) -> Priority:
    """What is promised is promised of scans of each priority."""
    return Priority(request.param)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def world(request: pytest.FixtureRequest, priority: Priority) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld(priority)
        return
    world = RedisWorld(request.getfixturevalue("valkey"), priority)
    yield world
    world.close()


def _entry(scan_id: str, priority: Priority) -> Entry:
    return Entry(
        scan_id=scan_id,
        kind=InputKind.URL,
        operating_point=PointName.BALANCED,
        deadline=4e9,
        url="http://h.test/a.png",
        priority=priority,
    )


def _outcome(claim: Claim, worker: str = "a") -> Outcome:
    refusal = Refusal(ScanErrorCode.FETCH_DNS, "No such host.")
    return Outcome(
        scan_id=claim.entry.scan_id,
        attempt=claim.attempt,
        worker=worker,
        status=Status.FAILED,
        input=Input(kind=InputKind.URL),
        error=refusal.as_error(),
    )


def _ids(claims: list[Claim]) -> list[str]:
    return [claim.entry.scan_id for claim in claims]


def test_claim_takes_nothing_when_nothing_waits(world: World) -> None:
    assert world.worker("a").claim(8) == []


def test_claim_takes_the_oldest_first_up_to_the_limit(world: World) -> None:
    world.post("one", "two", "three")

    claims = world.worker("a").claim(2)

    assert _ids(claims) == ["one", "two"]
    assert [claim.attempt for claim in claims] == [1, 1]


def test_claim_gives_a_scan_to_one_worker_only(world: World) -> None:
    world.post("one", "two")

    assert _ids(world.worker("a").claim(1)) == ["one"]
    assert _ids(world.worker("b").claim(8)) == ["two"]
    assert world.worker("b").claim(8) == []


def test_claim_takes_over_an_expired_lease_as_one_more_attempt(world: World) -> None:
    world.post("one")
    (first,) = world.worker("a").claim(8)
    world.let_leases_run_out()

    (second,) = world.worker("b").claim(8)

    assert (second.entry, second.attempt) == (first.entry, 2)
    assert second.token != first.token


def test_claim_takes_expired_leases_over_one_at_a_time_before_new_scans(world: World) -> None:
    world.post("one", "two")
    world.worker("a").claim(8)
    world.let_leases_run_out()
    world.post("three")
    ledger = world.worker("b")

    assert [_ids(ledger.claim(8)) for _ in range(3)] == [["one"], ["two"], ["three"]]


def test_claim_finds_an_expired_lease_behind_many_living_ones(world: World) -> None:
    world.post(*(f"scan{i}" for i in range(40)))
    a, b = world.worker("a"), world.worker("b")
    claims = a.claim(40)
    world.let_leases_run_out()
    a.renew(claims[:-1])

    assert _ids(b.claim(8)) == ["scan39"]


def test_renew_keeps_the_lease_and_the_attempt(world: World) -> None:
    world.post("one")
    ledger = world.worker("a")
    claims = ledger.claim(8)
    world.let_leases_run_out()

    ledger.renew(claims)

    assert world.worker("b").claim(8) == []
    assert ledger.complete([(claims[0], _outcome(claims[0]))]) == [True]


def test_renew_does_not_take_back_a_lease_that_has_passed(world: World) -> None:
    world.post("one")
    a, b = world.worker("a"), world.worker("b")
    mine = a.claim(8)
    world.let_leases_run_out()
    (theirs,) = b.claim(8)

    a.renew(mine)

    assert b.complete([(theirs, _outcome(theirs))]) == [True]


def test_release_gives_a_scan_back_at_once_as_the_same_attempt(world: World) -> None:
    world.post("one")
    a, b = world.worker("a"), world.worker("b")
    claims = a.claim(8)
    a.phase(claims, "fetching")

    a.release(claims)

    assert [(claim.entry.scan_id, claim.attempt) for claim in b.claim(8)] == [("one", 1)]
    assert world.phases("one") == [None]


def test_release_leaves_alone_what_has_passed_to_another(world: World) -> None:
    world.post("one")
    a, b, c = (world.worker(name) for name in "abc")
    mine = a.claim(8)
    world.let_leases_run_out()
    (theirs,) = b.claim(8)

    a.release(mine)

    assert c.claim(8) == []
    assert b.complete([(theirs, _outcome(theirs))]) == [True]


def test_complete_publishes_the_outcome_and_ends_the_claim(world: World) -> None:
    world.post("one")
    ledger = world.worker("a")
    (claim,) = ledger.claim(8)
    ledger.phase([claim], "scoring")

    assert ledger.complete([(claim, _outcome(claim))]) == [True]

    assert world.results() == [_outcome(claim)]
    assert ledger.depth() == 0
    assert world.phases("one") == [None]
    world.let_leases_run_out()
    assert world.worker("b").claim(8) == []


def test_complete_is_refused_when_the_lease_has_passed(world: World) -> None:
    world.post("one")
    a, b = world.worker("a"), world.worker("b")
    (mine,) = a.claim(8)
    world.let_leases_run_out()
    (theirs,) = b.claim(8)

    assert a.complete([(mine, _outcome(mine))]) == [False]

    assert world.results() == []
    assert b.complete([(theirs, _outcome(theirs, "b"))]) == [True]
    assert [outcome.worker for outcome in world.results()] == ["b"]


def test_complete_is_refused_when_the_worker_itself_took_the_scan_again(world: World) -> None:
    world.post("one")
    ledger = world.worker("a")
    (first,) = ledger.claim(8)
    world.let_leases_run_out()
    (second,) = ledger.claim(8)

    assert ledger.complete([(first, _outcome(first))]) == [False]
    assert ledger.complete([(second, _outcome(second))]) == [True]


def test_complete_is_refused_when_the_scan_was_given_back_and_another_has_it(
    world: World,
) -> None:
    world.post("one")
    a, b = world.worker("a"), world.worker("b")
    (mine,) = a.claim(8)
    a.release([mine])
    (theirs,) = b.claim(8)

    assert a.complete([(mine, _outcome(mine))]) == [False]
    assert b.complete([(theirs, _outcome(theirs))]) == [True]


def test_complete_is_refused_the_second_time(world: World) -> None:
    world.post("one")
    ledger = world.worker("a")
    (claim,) = ledger.claim(8)
    ledger.complete([(claim, _outcome(claim))])

    assert ledger.complete([(claim, _outcome(claim))]) == [False]
    assert len(world.results()) == 1


def test_complete_answers_for_each_of_a_batch(world: World) -> None:
    world.post("one", "two")
    a, b = world.worker("a"), world.worker("b")
    one, two = a.claim(8)
    world.let_leases_run_out()
    b.claim(8)

    assert a.complete([(one, _outcome(one)), (two, _outcome(two))]) == [False, True]
    assert [outcome.scan_id for outcome in world.results()] == ["two"]


def test_phase_tells_what_is_being_done(world: World) -> None:
    world.post("one", "two")
    ledger = world.worker("a")
    claims = ledger.claim(1)

    ledger.phase(claims, "fetching")

    assert world.phases("one", "two") == ["fetching", None]


def test_depth_counts_what_waits_and_what_is_held(world: World) -> None:
    world.post("one", "two", "three")
    ledger = world.worker("a")
    claims = ledger.claim(2)

    ledger.complete([(claims[0], _outcome(claims[0]))])

    assert ledger.depth() == 2


def test_depth_counts_scans_of_each_priority(world: World) -> None:
    world.post("one", priority=Priority.INTERACTIVE)
    world.post("two", priority=Priority.BULK)

    assert world.worker("a").depth() == 2


@only_interactive
def test_claim_takes_bulk_only_for_the_room_that_is_left(world: World) -> None:
    world.post("bulk1", "bulk2", "bulk3", priority=Priority.BULK)
    world.post("one", "two", "three")
    ledger = world.worker("a")

    assert [_ids(ledger.claim(2)) for _ in range(3)] == [
        ["one", "two"],
        ["three", "bulk1"],
        ["bulk2", "bulk3"],
    ]


@only_interactive
def test_claim_takes_bulk_first_in_one_batch_of_eight(world: World) -> None:
    world.post(*(f"scan{i}" for i in range(40)))
    world.post(*(f"bulk{i}" for i in range(40)), priority=Priority.BULK)
    ledger = world.worker("a")

    batches = [_ids(ledger.claim(2)) for _ in range(16)]

    bulk = [turn for turn, batch in enumerate(batches, 1) if batch[0].startswith("bulk")]
    assert (bulk, BULK_TURN) == ([8, 16], 8)
    assert batches[7] == ["bulk0", "bulk1"]
    assert all(len(batch) == 2 for batch in batches)


@only_interactive
def test_claim_takes_no_more_bulk_than_it_may(world: World) -> None:
    world.post("bulk1", "bulk2", "bulk3", priority=Priority.BULK)
    world.post("one", "two")
    ledger = world.worker("a")

    assert _ids(ledger.claim(8, bulk=1)) == ["one", "two", "bulk1"]
    assert ledger.claim(8, bulk=0) == []
    assert _ids(ledger.claim(1, bulk=8)) == ["bulk2"]
    assert _ids(ledger.claim(8)) == ["bulk3"]


@only_interactive
def test_claim_takes_no_more_bulk_than_it_may_when_that_comes_first(world: World) -> None:
    world.post(*(f"scan{i}" for i in range(40)))
    world.post("bulk1", "bulk2", priority=Priority.BULK)
    ledger = world.worker("a")

    batches = [_ids(ledger.claim(3, bulk=1)) for _ in range(BULK_TURN)]

    assert batches[-1] == ["bulk1", "scan21", "scan22"]


@only_interactive
def test_claim_takes_a_lost_bulk_scan_over_only_where_bulk_may_be_taken(world: World) -> None:
    world.post("bulk1", priority=Priority.BULK)
    world.worker("a").claim(8)
    world.let_leases_run_out()
    ledger = world.worker("b")

    assert ledger.claim(8, bulk=0) == []
    assert [(_ids([claim]), claim.attempt) for claim in ledger.claim(8, bulk=1)] == [(["bulk1"], 2)]


@only_interactive
def test_claim_counts_no_look_that_found_nothing_as_a_batch(world: World) -> None:
    ledger = world.worker("a")
    for _ in range(BULK_TURN - 1):
        assert ledger.claim(1) == []
    world.post("bulk", priority=Priority.BULK)
    world.post("one")

    assert _ids(ledger.claim(1)) == ["one"]


@only_interactive
def test_claim_takes_new_scans_before_a_bulk_scan_whose_lease_ran_out(world: World) -> None:
    world.post("bulk", priority=Priority.BULK)
    world.worker("a").claim(8)
    world.let_leases_run_out()
    world.post("one")
    world.post("bulk2", priority=Priority.BULK)
    ledger = world.worker("b")

    # The one that may have killed its worker comes alone.
    assert [_ids(ledger.claim(8)) for _ in range(3)] == [["one"], ["bulk"], ["bulk2"]]


@only_interactive
def test_claim_takes_over_a_bulk_scan_although_others_keep_coming(world: World) -> None:
    world.post("bulk", priority=Priority.BULK)
    world.worker("a").claim(8)
    world.let_leases_run_out()
    world.post(*(f"scan{i}" for i in range(40)))
    ledger = world.worker("b")

    batches = [_ids(ledger.claim(4)) for _ in range(BULK_TURN)]

    assert batches[-1] == ["bulk"]


def test_complete_and_release_tell_scans_of_each_priority_apart(world: World) -> None:
    world.post("one", priority=Priority.INTERACTIVE)
    world.post("bulk", priority=Priority.BULK)
    ledger, other = world.worker("a"), world.worker("b")
    one, bulk = ledger.claim(8)

    ledger.renew([one, bulk])
    ledger.release([bulk])

    assert [(claim.entry.scan_id, claim.attempt) for claim in other.claim(8)] == [("bulk", 1)]
    assert ledger.complete([(bulk, _outcome(bulk)), (one, _outcome(one))]) == [False, True]


def test_every_call_raises_unavailable_when_the_store_is_down(world: World) -> None:
    world.post("one")
    ledger = world.worker("a")
    claims = ledger.claim(8)
    world.break_down()

    for call in (
        lambda: ledger.claim(8),
        lambda: ledger.renew(claims),
        lambda: ledger.release(claims),
        lambda: ledger.phase(claims, "scoring"),
        lambda: ledger.complete([(claims[0], _outcome(claims[0]))]),
        ledger.depth,
    ):
        with pytest.raises(Unavailable):
            call()


@pytest.mark.redis
def test_group_name_is_what_the_contract_says(valkey: Valkey) -> None:
    world = RedisWorld(valkey, Priority.INTERACTIVE)
    world.worker("a").claim(1)
    with redis.Redis.from_url(valkey.url) as client:
        for stream in STREAMS.values():
            assert [group["name"] for group in client.xinfo_groups(stream)] == [WORKERS.encode()]
    world.close()

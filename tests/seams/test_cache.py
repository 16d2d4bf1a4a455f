"""What Cache promises, on the fake and on a real Valkey; two workers' ends of the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import redis
from msgspec.structs import replace

from sdk.wire import Declaration
from tests.valkey_server import Valkey, running
from worker.cache import RedisCache
from worker.clock import SystemClock
from worker.known import Again, Known, of
from worker.ports import Cache, Seen, Validator
from worker.testing import FixedDetector, FixedReading, MemoryCache
from worker.verdicts import Facts

pytestmark = pytest.mark.redis

IMAGE, OTHER = "a" * 64, "b" * 64
URL = "http://h.test/a.png?signature=canary"
KNOWN = Known(
    readings=(of(FixedReading(score=0.75, probability=0.7)),),
    mime="image/png",
    facts=Facts(width=300, height=200),
    declaration=None,
)
SEEN = Seen(sha256=IMAGE, size=1234, validator=Validator.of(URL, etag='"v1"'))

Ends = tuple[Cache, Cache]


@pytest.fixture(scope="module")
def valkey_of_module() -> Iterator[Valkey]:
    with running() as valkey:
        yield valkey


@pytest.fixture(params=["fake", "valkey"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    if request.param == "fake":
        shared = MemoryCache()
        yield shared, shared
        return
    valkey: Valkey = request.getfixturevalue("valkey_of_module")
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with ExitStack() as stack:
        yield _end(valkey, stack), _end(valkey, stack)


def _end(valkey: Valkey, stack: ExitStack) -> Cache:
    cache = RedisCache(valkey.url, detector=FixedDetector(), clock=SystemClock(), timeout_seconds=5)
    return stack.enter_context(closing(cache))


def test_cache_gives_another_worker_what_is_known(ends: Ends) -> None:
    here, there = ends

    here.keep(IMAGE, KNOWN)

    assert there.known(IMAGE) == KNOWN
    assert there.known(OTHER) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda known: replace(known, readings=known.readings * 4),
        lambda known: replace(known, again=Again(0, known.readings[0])),
        lambda known: replace(known, declaration=Declaration(kind="xmp", trust="unsigned")),
        lambda known: replace(known, facts=replace(known.facts, jpeg_quality=71, frame_count=9)),
    ],
    ids=["frames", "again", "declaration", "facts"],
)
def test_cache_gives_back_all_that_a_verdict_is_made_of(
    ends: Ends, change: Callable[[Known], Known]
) -> None:
    here, there = ends
    known = change(KNOWN)

    here.keep(IMAGE, known)

    assert there.known(IMAGE) == known


def test_cache_takes_the_later_word(ends: Ends) -> None:
    here, there = ends
    confirmed = replace(KNOWN, again=Again(0, KNOWN.readings[0]))

    here.keep(IMAGE, KNOWN)
    there.keep(IMAGE, confirmed)

    assert here.known(IMAGE) == confirmed


def test_cache_lets_one_worker_look_at_an_image(ends: Ends) -> None:
    here, there = ends

    assert here.claim(IMAGE)
    assert not there.claim(IMAGE)
    assert there.claim(OTHER)


def test_cache_ends_a_claim_with_what_was_learnt_or_without(ends: Ends) -> None:
    here, there = ends

    here.claim(IMAGE)
    here.keep(IMAGE, KNOWN)
    assert there.claim(IMAGE)

    there.release(IMAGE)
    assert here.claim(IMAGE)


def test_cache_remembers_and_forgets_what_a_url_had(ends: Ends) -> None:
    here, there = ends
    assert there.seen(URL) is None

    here.saw(URL, SEEN)
    assert there.seen(URL) == SEEN
    assert there.seen(f"{URL}&more") is None

    there.saw(URL, None)
    assert here.seen(URL) is None

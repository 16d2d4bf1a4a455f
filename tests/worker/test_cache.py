"""The cache in Redis: what it takes for a miss, how little it leaves, and that it never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
import structlog
from msgspec.structs import replace

from sdk.wire import Declaration
from tests.valkey_server import Valkey
from worker.cache import KEEP_SECONDS, LIMIT_BYTES, PAUSE_SECONDS, SLOTS, RedisCache
from worker.known import Again, Known, of
from worker.ports import Seen, Validator
from worker.testing import FixedDetector, FixedReading, ManualClock
from worker.verdicts import Facts

pytestmark = pytest.mark.redis

IMAGE = "a" * 64
URL = "http://h.test/secret.png?signature=canary"
READING = of(FixedReading(score=0.75, probability=0.7))
KNOWN = Known((READING,), "image/png", Facts(width=300, height=200), None)
SEEN = Seen(sha256=IMAGE, size=1234, validator=Validator.of(URL, etag='"v1"'))


def _cache(url: str, detector: FixedDetector | None = None) -> RedisCache:
    clock = ManualClock()
    return RedisCache(url, detector=detector or FixedDetector(), clock=clock, timeout_seconds=5)


@pytest.fixture
def cache(valkey: Valkey) -> Iterator[RedisCache]:
    with closing(_cache(valkey.url)) as cache:
        yield cache


def _only_key(client: redis.Redis) -> bytes:
    (key,) = client.keys("pinclip:known:*")
    return bytes(key)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"\xc1" + data[1:],
        lambda data: data[:20] + bytes((data[20] ^ 1,)) + data[21:],
        lambda data: msgspec.msgpack.encode({"score": 0.0}),
        lambda data: msgspec.json.encode(KNOWN),
        lambda data: b"gAAAAABencrypted",
    ],
    ids=["empty", "cut", "no msgpack", "another image", "another shape", "json", "encrypted"],
)
def test_cache_misses_what_is_not_its_own(
    cache: RedisCache, client: redis.Redis, damage: Callable[[bytes], bytes]
) -> None:
    cache.keep(IMAGE, KNOWN)
    key = _only_key(client)
    kept: Any = client.get(key)
    client.set(key, damage(kept))

    assert cache.known(IMAGE) is None

    client.set(key, kept)
    assert cache.known(IMAGE) == KNOWN


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan"), float("inf")])
def test_cache_keeps_no_score_that_no_model_gives(
    cache: RedisCache, client: redis.Redis, score: float
) -> None:
    cache.keep(IMAGE, replace(KNOWN, readings=(replace(READING, score=score),)))

    assert client.keys("pinclip:known:*") == []


@pytest.mark.parametrize(
    "bad",
    [
        replace(KNOWN, readings=()),
        replace(KNOWN, readings=(replace(READING, score=2.0),)),
        replace(KNOWN, readings=(replace(READING, score=float("nan")),)),
        replace(KNOWN, again=Again(1, READING)),
        replace(KNOWN, again=Again(0, replace(READING, score=float("nan")))),
    ],
    ids=["no frame", "score", "nan", "frame", "again"],
)
def test_cache_misses_what_cannot_be_judged(
    cache: RedisCache, client: redis.Redis, bad: Known
) -> None:
    cache.keep(IMAGE, KNOWN)
    key = _only_key(client)
    kept: Any = client.get(key)
    name, _ = msgspec.msgpack.decode(kept)
    client.set(key, msgspec.msgpack.encode((name, bad)))

    assert cache.known(IMAGE) is None


@pytest.mark.parametrize("field", ["weights_sha256", "calibration_id", "engine", "precision"])
def test_cache_keeps_models_apart(valkey: Valkey, cache: RedisCache, field: str) -> None:
    detector = FixedDetector()
    setattr(detector, field, "another")
    cache.keep(IMAGE, KNOWN)

    with closing(_cache(valkey.url, detector)) as other:
        assert other.known(IMAGE) is None
        assert other.claim(IMAGE)


def test_cache_writes_small_entries_that_expire_into_a_bounded_number_of_keys(
    cache: RedisCache, client: redis.Redis
) -> None:
    long_known = replace(
        KNOWN,
        readings=(READING,) * 4,
        again=Again(3, READING),
        declaration=Declaration(
            kind="c2pa", trust="unsigned", source_type="http://h/" + "a" * 200, signer="b" * 200
        ),
    )
    for number in range(64):
        cache.keep(f"{number:064x}", long_known)
        cache.saw(f"{URL}{number}", SEEN)

    for kind in ("known", "seen"):
        keys: Any = client.keys(f"pinclip:{kind}:*")
        assert 60 <= len(keys) <= 64
        for key in keys:
            assert 0 <= int(key.decode().rpartition(":")[2]) < SLOTS
            assert 0 < client.ttl(key) <= KEEP_SECONDS
            assert client.strlen(key) <= LIMIT_BYTES


def test_cache_keeps_no_entry_over_the_limit(cache: RedisCache, client: redis.Redis) -> None:
    cache.keep(
        IMAGE, replace(KNOWN, declaration=Declaration(kind="x" * LIMIT_BYTES, trust="unsigned"))
    )

    assert client.keys("*") == []


def test_cache_writes_no_url(cache: RedisCache, client: redis.Redis) -> None:
    cache.saw(URL, SEEN)
    cache.claim(IMAGE)
    cache.keep(IMAGE, KNOWN)

    for key in client.scan_iter():
        for part in (b"h.test", b"secret", b"canary"):
            assert part not in key + (client.get(key) or b"")


def test_cache_loses_its_claims_by_itself(cache: RedisCache, client: redis.Redis) -> None:
    cache.claim(IMAGE)

    (key,) = client.keys("*")
    assert 0 < client.ttl(key) <= 5


# -- Redis full, and away


@pytest.fixture
def full(client: redis.Redis) -> Iterator[Callable[[], None]]:
    """Make Redis refuse all writes that need memory, as at maxmemory under noeviction."""
    yield lambda: client.config_set("maxmemory", "1")
    client.config_set("maxmemory", "0")


def test_cache_gives_its_room_back_when_redis_is_full(
    cache: RedisCache, client: redis.Redis, full: Callable[[], None]
) -> None:
    client.set("others", "stay")
    for number in range(40):
        cache.keep(f"{number:064x}", KNOWN)
        cache.saw(f"{URL}{number}", SEEN)
    full()

    with structlog.testing.capture_logs() as logs:
        cache.keep(IMAGE, KNOWN)
        cache.keep(IMAGE, KNOWN)
        cache.saw(URL, SEEN)

    assert client.keys("*") == [b"others"]
    told = [(line["event"], line["log_level"]) for line in logs]
    assert told == [("cache_unavailable", "warning"), ("cache_emptied", "info")]


def test_cache_lets_everybody_look_when_redis_is_full(
    cache: RedisCache, full: Callable[[], None]
) -> None:
    full()

    assert cache.claim(IMAGE)
    assert cache.claim(IMAGE)


def test_cache_says_once_that_redis_is_away_and_asks_again_later(
    valkey: Valkey, tmp_path: Path
) -> None:
    clock = ManualClock()
    address = f"unix://{tmp_path}/valkey.sock"
    cache = RedisCache(address, detector=FixedDetector(), clock=clock, timeout_seconds=5)

    with closing(cache), structlog.testing.capture_logs() as logs:
        assert cache.known(IMAGE) is None
        assert cache.claim(IMAGE)
        cache.keep(IMAGE, KNOWN)
        cache.saw(URL, SEEN)
        assert cache.seen(URL) is None
        clock.advance(PAUSE_SECONDS)
        cache.release(IMAGE)
        assert [line["log_level"] for line in logs] == ["warning", "debug"]

        (tmp_path / "valkey.sock").symlink_to(valkey.socket)
        cache.keep(IMAGE, KNOWN)
        assert cache.known(IMAGE) is None
        clock.advance(PAUSE_SECONDS)
        cache.keep(IMAGE, KNOWN)
        assert cache.known(IMAGE) == KNOWN

"""The cache in Redis: what it takes for a miss, how little it leaves, and that it never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
import structlog
from msgspec.structs import replace

from sdk.wire import Declaration
from tests.valkey_server import Valkey
from worker.cache import (
    FEATURES_LIMIT_BYTES,
    FEATURES_SLOTS,
    KEEP_SECONDS,
    LIMIT_BYTES,
    PAUSE_SECONDS,
    SLOTS,
    RedisCache,
)
from worker.known import Again, Known, Part, of
from worker.ports import Seen, Validator
from worker.testing import FixedDetector, FixedReading, HeadedDetector, ManualClock
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


# -- features


ACCUSED = replace(KNOWN, again=Again(0, READING))
SERVED, REENCODED = Part(0), Part(0, is_reencoded=True)


def _features(*brightness: float) -> dict[Part, bytes]:
    """Return what a HeadedDetector read of frames of this brightness."""
    rows = np.array(brightness, np.float32)
    return {Part(frame): row.tobytes() for frame, row in enumerate(rows)}


@pytest.fixture
def heads(valkey: Valkey) -> Iterator[Callable[..., RedisCache]]:
    """Make the cache of a HeadedDetector: heads(0.5, tower="another")."""
    with ExitStack() as stack:

        def make(head: float = 1.0, **options: Any) -> RedisCache:
            detector = HeadedDetector(head=head, **options)
            return stack.enter_context(closing(_cache(valkey.url, detector)))

        yield make


Heads = Callable[..., RedisCache]


def test_cache_reads_what_another_head_left(heads: Heads) -> None:
    reencoded = _features(0.6)[SERVED]
    heads(1.0).keep(IMAGE, ACCUSED, {**_features(0.8), REENCODED: reencoded})

    known = heads(0.5).known(IMAGE)

    assert known is not None
    assert [reading.score for reading in known.readings] == pytest.approx([0.4])
    assert known.again is not None
    assert (known.again.frame, known.again.reading.score) == (0, pytest.approx(0.3))
    assert (known.mime, known.facts, known.declaration) == (KNOWN.mime, KNOWN.facts, None)
    assert heads(0.5).known("b" * 64) is None


def test_cache_keeps_what_it_read(heads: Heads, client: redis.Redis) -> None:
    heads(1.0).keep(IMAGE, KNOWN, _features(0.8))
    known = heads(0.5).known(IMAGE)
    client.delete(*client.keys("pinclip:features:*"))

    assert known is not None
    assert heads(0.5).known(IMAGE) == known


@pytest.mark.parametrize("lost", [0, 1, 2, None])
def test_cache_reads_an_animation_only_if_all_its_frames_are_there(
    heads: Heads, lost: int | None
) -> None:
    known = replace(
        KNOWN, readings=(READING,) * 3, facts=replace(KNOWN.facts, frame_count=9, sampled=3)
    )
    found = _features(0.2, 0.8, 0.4)
    if lost is not None:
        del found[Part(lost)]
    heads(1.0).keep(IMAGE, known, found)

    read = heads(0.5).known(IMAGE)

    scores = [reading.score for reading in read.readings] if read else None
    assert scores == (pytest.approx([0.1, 0.4, 0.2]) if lost is None else None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: bytes(len(data)),
        *(
            lambda data, at=at: data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            for at in (0, 10, 41, 44, -1)
        ),
    ],
    ids=["empty", "cut", "zeros", "crc", "name", "features", "more", "about"],
)
def test_cache_reads_no_damaged_features(
    heads: Heads, client: redis.Redis, damage: Callable[[bytes], bytes]
) -> None:
    heads(1.0).keep(IMAGE, KNOWN, _features(0.8))
    (key,) = client.keys("pinclip:features:*")
    kept: Any = client.get(key)
    client.set(key, damage(kept))

    assert heads(0.5).known(IMAGE) is None

    client.set(key, kept)
    assert heads(0.5).known(IMAGE) is not None


@pytest.mark.parametrize("bad", [b"", b"\0" * 8, np.float32(np.nan).tobytes()])
def test_cache_reads_no_features_that_the_detector_refuses(heads: Heads, bad: bytes) -> None:
    heads(1.0).keep(IMAGE, KNOWN, {SERVED: bad})

    assert heads(0.5).known(IMAGE) is None


def test_cache_reads_no_score_that_no_model_gives(heads: Heads, client: redis.Redis) -> None:
    heads(1.0).keep(IMAGE, KNOWN, _features(0.8))

    assert heads(2.0).known(IMAGE) is None
    assert len(client.keys("pinclip:known:*")) == 1


def test_cache_keeps_towers_apart(heads: Heads) -> None:
    heads(1.0, tower="old").keep(IMAGE, KNOWN, _features(0.8))

    assert heads(0.5, tower="new").known(IMAGE) is None
    assert heads(0.5, tower="old").known(IMAGE) is not None


def test_cache_writes_features_that_expire_into_a_bounded_number_of_keys(
    heads: Heads, client: redis.Redis
) -> None:
    cache, widest = heads(), 12 * 768 * 2
    for number in range(64):
        cache.keep(f"{number:064x}", ACCUSED, {SERVED: bytes(widest), REENCODED: bytes(widest)})
    cache.keep(IMAGE, KNOWN, {SERVED: bytes(FEATURES_LIMIT_BYTES)})

    keys: Any = client.keys("pinclip:features:*")
    assert 110 <= len(keys) <= 128
    for key in keys:
        assert 0 <= int(key.decode().rpartition(":")[2]) < FEATURES_SLOTS
        assert 0 < client.ttl(key) <= KEEP_SECONDS
        assert widest < client.strlen(key) <= FEATURES_LIMIT_BYTES
    assert FEATURES_SLOTS * (FEATURES_LIMIT_BYTES + 1000) < 48 * 2**20


# -- Redis full, and away


@pytest.fixture
def full(client: redis.Redis) -> Iterator[Callable[[], None]]:
    """Make Redis refuse all writes that need memory, as at maxmemory under noeviction."""
    yield lambda: client.config_set("maxmemory", "1")
    client.config_set("maxmemory", "0")


def test_cache_gives_its_room_back_when_redis_is_full(
    heads: Heads, client: redis.Redis, full: Callable[[], None]
) -> None:
    cache = heads()
    client.set("others", "stay")
    for number in range(40):
        cache.keep(f"{number:064x}", KNOWN, _features(0.8))
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

"""Weights with another head or calibration: images known before are judged by the head alone.

A real Valkey and a real, small model, whose tower has one block. What is counted: pictures that
are decoded, and pictures that reach the model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from pinclip.detector import Detector, load
from pinclip.weights import Calibration, File, calibration_id, digest, open_weights
from sdk.wire import PointName, Verdict
from tests.valkey_server import Valkey
from worker.bench import BEHIND
from worker.cache import RedisCache
from worker.clock import SystemClock
from worker.contract import Entry, Outcome
from worker.engine import Engine
from worker.guard import Policy
from worker.intake import Preparer, Source
from worker.known import Features, Known
from worker.ports import Cache, Decoded, Reading
from worker.shift import Shift
from worker.testing import (
    FixedDetector,
    HeadedDetector,
    InProcessDecoder,
    MemoryCache,
    MemoryLedger,
    ScriptedFetcher,
)

pytestmark = pytest.mark.redis

Make = Callable[..., Entry]
Draw = Callable[..., bytes]
SHIPPED = Path(__file__).parents[2] / "weights" / "pinclip_weights_b16"
BRIGHT = 240
"""A grey of brightness 0.94, which heads of 0.9 and 1 accuse at the balanced point, 0.5 nowhere."""


class CountingDecoder(InProcessDecoder):
    """Counts what it decodes."""

    def __init__(self) -> None:
        self.count = 0

    def decode(self, data: bytes) -> Decoded:
        self.count += 1
        return super().decode(data)


class CountingModel:
    """A pinclip detector that counts the pictures it sees."""

    def __init__(self, model: Detector) -> None:
        self._model = model
        self.features_id = model.features_id
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        return self._model.forward(batch)

    def reread(self, features: list[bytes]) -> list[Reading]:
        return list(self._model.reread(features))


class Worker:
    """A worker with this detector, whose scans and origin are its own."""

    def __init__(self, detector: Any, cache: Cache, answers: dict[str, bytes]) -> None:
        clock, self.decoder, self.detector = SystemClock(), CountingDecoder(), detector
        self.cache, self.ledger = cache, MemoryLedger(clock)
        self.fetcher = ScriptedFetcher(answers)
        self.source = Source(
            fetcher=self.fetcher,
            read_upload=lambda upload_id: b"",
            cache=cache,
            policy=Policy(),
            clock=clock,
            fetch_seconds=20.0,
        )

    def shift(self) -> Shift:
        return Shift(
            ledger=self.ledger,
            source=self.source,
            preparer=Preparer(
                decoder=self.decoder, detector=self.detector, read_declaration=lambda data: None
            ),
            engine=Engine(self.detector, batch_limit=8),
            cache=self.cache,
            clock=SystemClock(),
            worker="w",
        )

    def scan(self, entry: Entry) -> Outcome:
        """Scan this; what was learnt is kept by the time it returns."""
        self.ledger.post(entry)
        with closing(self.shift()) as shift:
            shift.work()
            _kept(shift)  # Another model waits for no claim.
        return self.ledger.results[-1]

    def work_done(self) -> tuple[int, list[int]]:
        """Return how much it decoded, and the sizes of the batches that its model saw."""
        return self.decoder.count, self.detector.sizes


def _kept(shift: Shift) -> None:
    """Wait until all is kept that was to be."""
    shift._bench._keeper.submit(int).result(30)


Hire = Callable[..., Worker]


@pytest.fixture
def hire(valkey: Valkey) -> Iterator[Hire]:
    """Make a worker that finds these pictures: hire(detector, a=..., b=...)."""
    with ExitStack() as stack:

        def make(detector: Any, cache: Cache | None = None, **bodies: bytes) -> Worker:
            if cache is None:
                shared = RedisCache(
                    valkey.url, detector=detector, clock=SystemClock(), timeout_seconds=5
                )
                cache = stack.enter_context(closing(shared))
            answers = {f"http://h.test/{name}.png": body for name, body in bodies.items()}
            return Worker(detector, cache, answers)

        yield make


# -- the real model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of one block: `old`, `new` with another head, `measured` with another calibration."""
    made = {}
    for name, seed, temperature in (("old", 0, 1.0), ("new", 1, 1.0), ("measured", 0, 2.0)):
        made[name] = target = tmp_path_factory.mktemp(name)
        (target / "base.safetensors").symlink_to(SHIPPED / "base.safetensors")
        random, path = np.random.default_rng(seed), target / "head.safetensors"
        head = {"weight": random.normal(0, 0.03, (5, 768)), "bias": random.normal(0, 0.1, 5)}
        head["bias"] += (-3, 99, 0, 0, 0)  # A photograph, and not accused.
        save_file({key: values.astype(np.float32) for key, values in head.items()}, path)
        meta = open_weights(SHIPPED).meta
        measured = Calibration(temperature=temperature, bias=0.0, ece=0.0)
        slices = {key: replace(facts, calibration=measured) for key, facts in meta.slices.items()}
        changed = replace(
            meta,
            id=name,
            head=File(file=path.name, sha256=digest(path), license="MIT", origin="drawn"),
            blocks=(1,),
            hidden=0,
            int8=None,
            slices=slices,
            calibration_id=calibration_id(slices),
        )
        (target / "meta.json").write_bytes(msgspec.json.encode(changed))
    return made


def _noise(seed: int) -> bytes:
    """Draw a PNG that is no other seed's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (200, 300, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_new_weights_on_the_same_tower_neither_decode_nor_run_the_model_for_a_known_image(
    folders: dict[str, Path], hire: Hire, entry: Make
) -> None:
    old, new = (CountingModel(load(weights=folders[name])) for name in ("old", "new"))
    before = hire(old, a=_noise(1)).scan(entry("a"))
    worker = hire(new, a=_noise(1))

    outcome = worker.scan(entry("a"))

    assert worker.work_done() == (0, [])
    pixels = np.asarray(Image.open(BytesIO(_noise(1))))
    (own,) = new.finish(new.forward(new.prepare(pixels)[None]))
    assert outcome.model is not None
    assert outcome.model.id == "new"
    assert outcome.score == pytest.approx(own.score, abs=1e-3)
    assert outcome.probability == pytest.approx(own.probability, abs=1e-3)
    assert outcome.score != pytest.approx(before.score, abs=0.01)
    assert outcome.input == before.input


def test_new_weights_with_another_calibration_alone_give_the_same_score(
    folders: dict[str, Path], hire: Hire, entry: Make
) -> None:
    models = [CountingModel(load(weights=folders[name])) for name in ("old", "measured")]
    before = hire(models[0], a=_noise(2)).scan(entry("a"))
    worker = hire(models[1], a=_noise(2))

    outcome = worker.scan(entry("a"))

    assert worker.work_done() == (0, [])
    assert outcome.score == pytest.approx(before.score, abs=1e-3)
    assert outcome.probability != pytest.approx(before.probability, abs=0.01)


# -- whatever the model: it scores the brightness times a factor, which is its head


def test_an_accused_image_is_accused_anew_without_its_bytes(
    hire: Hire, entry: Make, picture: Draw
) -> None:
    first = hire(HeadedDetector(head=1.0), a=picture(BRIGHT))
    assert first.scan(entry("a")).verdict is Verdict.LIKELY_AI
    assert first.work_done() == (2, [1, 1])
    second = hire(HeadedDetector(head=0.9), a=picture(BRIGHT))

    outcome = second.scan(entry("a"))

    assert (outcome.verdict, outcome.score) == (Verdict.LIKELY_AI, pytest.approx(0.847, abs=1e-3))
    assert second.work_done() == (0, [])
    assert second.fetcher.spared == ["http://h.test/a.png"]  # Known, so asked whether it is as was.


def test_a_head_that_accuses_what_none_did_has_the_image_scored_again_and_that_is_kept(
    hire: Hire, entry: Make, picture: Draw
) -> None:
    mild, stern, sterner = (HeadedDetector(head=head) for head in (0.5, 0.9, 1.0))
    assert hire(mild, a=picture(BRIGHT)).scan(entry("a")).verdict is Verdict.INCONCLUSIVE
    second, third = hire(stern, a=picture(BRIGHT)), hire(sterner, a=picture(BRIGHT))

    assert second.scan(entry("a")).verdict is Verdict.LIKELY_AI
    assert second.work_done() == (1, [1])  # Re-encoded only.

    assert third.scan(entry("a")).verdict is Verdict.LIKELY_AI
    assert third.work_done() == (0, [])


def test_all_frames_of_an_animation_are_read_anew(hire: Hire, entry: Make) -> None:
    frames = [Image.new("RGB", (300, 300), (grey,) * 3) for grey in (20, BRIGHT, 40)]
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    first = hire(HeadedDetector(head=1.0), a=buffer.getvalue())
    before = first.scan(entry("a"))
    assert first.work_done() == (2, [3, 1])
    second = hire(HeadedDetector(head=0.9), a=buffer.getvalue())

    outcome = second.scan(entry("a"))

    assert second.work_done() == (0, [])
    assert outcome.score == pytest.approx((before.score or 0) * 0.9, abs=1e-3)
    assert outcome.verdict is before.verdict is Verdict.LIKELY_AI


def test_what_was_read_anew_is_known_from_then_on(
    hire: Hire, entry: Make, picture: Draw, client: redis.Redis
) -> None:
    hire(HeadedDetector(head=0.5), a=picture(BRIGHT)).scan(entry("a"))
    hire(HeadedDetector(head=0.6), a=picture(BRIGHT)).scan(entry("a"))
    client.delete(*client.keys("pinclip:features:*"))
    worker = hire(HeadedDetector(head=0.6), a=picture(BRIGHT))

    worker.scan(entry("a", operating_point=PointName.STRICT))

    assert worker.work_done() == (0, [])


def test_features_of_another_tower_are_no_use(hire: Hire, entry: Make, picture: Draw) -> None:
    hire(HeadedDetector(tower="old"), a=picture(0)).scan(entry("a"))
    worker = hire(HeadedDetector(tower="new", head=0.9), a=picture(0))

    worker.scan(entry("a"))

    assert worker.work_done() == (1, [1])


def test_a_detector_without_features_leaves_none_and_takes_none(
    hire: Hire, entry: Make, picture: Draw, client: redis.Redis
) -> None:
    outcome = hire(FixedDetector(), a=picture(BRIGHT)).scan(entry("a"))

    assert outcome.verdict is Verdict.LIKELY_AI
    assert client.keys("pinclip:features:*") == []


class SlowCache(MemoryCache):
    """Keeps nothing before the gate opens; notes which of what it kept came with features."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.came: list[bool] = []

    def keep(self, sha256: str, known: Known, features: Features | None = None) -> None:
        assert self.gate.wait(30)
        self.came.append(bool(features))
        super().keep(sha256, known)


def test_features_do_not_pile_up_where_the_cache_is_slower_than_the_model(
    hire: Hire, entry: Make, picture: Draw
) -> None:
    count = BEHIND + 3
    names = [f"i{number}" for number in range(count)]
    bodies = {name: picture(0, size=(200 + at, 100)) for at, name in enumerate(names)}
    cache = SlowCache()
    worker = hire(HeadedDetector(), cache, **bodies)
    worker.ledger.post(*(entry(name) for name in names))

    with closing(worker.shift()) as shift:
        shift.work()
        cache.gate.set()
        _kept(shift)

    assert cache.came == [True] * BEHIND + [False] * 3

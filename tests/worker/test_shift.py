"""The work loop: what ends how, who waits for whom, what happens at a loss or a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray

from sdk.codes import ScanErrorCode
from sdk.wire import Declaration, InputKind, Priority, Status, Verdict
from worker import uploads
from worker.clock import SystemClock
from worker.contract import ATTEMPT_LIMIT, Entry, Outcome
from worker.engine import Engine
from worker.guard import Policy
from worker.intake import Preparer, Source
from worker.ports import Claim, Clock, Decoded, Fetched, Reading, Refusal, Unavailable, judge
from worker.shift import HANG_SECONDS, STALL_SECONDS, ModelHung, Shift
from worker.testing import (
    FixedDetector,
    InProcessDecoder,
    ManualClock,
    MemoryCache,
    MemoryLedger,
    ScriptedFetcher,
)
from worker.tracing import Tracing

Make = Callable[..., Entry]
Draw = Callable[..., bytes]


class GatedFetcher(ScriptedFetcher):
    """Answers the URLs in `closed` once their gate is open; `arrived` lists all at once."""

    def __init__(self, answers: dict[str, bytes | Refusal], *closed: str) -> None:
        super().__init__(answers)
        self.gates = {url: threading.Event() for url in closed}
        self.arrived: list[str] = []
        self.timeouts: list[float] = []

    def fetch(self, url: str, *, timeout_seconds: float) -> Fetched:
        self.arrived.append(url)
        self.timeouts.append(timeout_seconds)
        if url in self.gates:
            assert self.gates[url].wait(30)
        return super().fetch(url, timeout_seconds=timeout_seconds)


class WatchedLedger(MemoryLedger):
    """Tells of each completion as it happens, and of how many scans were held at each claim."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, worker="w")
        self.completed: dict[str, threading.Event] = {}
        self.renewed = threading.Event()
        self.on_complete: Callable[[Outcome], None] = lambda outcome: None
        self.failing_completions = 0

    def done(self, scan_id: str) -> threading.Event:
        return self.completed.setdefault(scan_id, threading.Event())

    def claim(self, limit: int, *, bulk: int | None = None) -> list[Claim]:
        assert limit > 0  # Redis reads COUNT 0 as "all".
        return super().claim(limit, bulk=bulk)

    def renew(self, claims: Sequence[Claim]) -> None:
        super().renew(claims)
        self.renewed.set()

    def complete(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[bool]:
        if self.failing_completions:
            self.failing_completions -= 1
            raise Unavailable("full")
        answers = super().complete(outcomes)
        for _, outcome in outcomes:
            self.on_complete(outcome)
            self.done(outcome.scan_id).set()
        return answers


class BatchDetector(FixedDetector):
    """Notes the sizes of its batches; the first waits for `gate`."""

    def __init__(self, *, batch_limit: int = 8) -> None:
        super().__init__(batch_limit=batch_limit)
        self.sizes: list[int] = []
        self.batches_until_broken = 1_000_000
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        self.started.set()
        assert self.gate.wait(30)
        if len(self.sizes) > self.batches_until_broken:
            raise RuntimeError("the device is gone")
        if (batch == 1.0).all(axis=(1, 2, 3)).any() and getattr(self, "fails_on_white", False):
            raise ValueError("white")
        return super().forward(batch)


class Stage:
    """A Shift on fakes, with all its parts in reach."""

    def __init__(self, fetcher: ScriptedFetcher, tmp_path: Path, clock: Clock) -> None:
        self.clock = clock
        self.fetcher = fetcher
        self.ledger = WatchedLedger(clock)
        self.cache = MemoryCache()
        self.detector = BatchDetector()
        self.decoder: object = InProcessDecoder()
        self.declaration: Declaration | None = None
        self.state_dir = tmp_path
        self.engine_of: type[Engine] = Engine
        self._made: list[Shift] = []

    def shift(self, **options: object) -> Shift:
        engine = self.engine_of(self.detector, batch_limit=8, now=self.clock.monotonic)
        shift = Shift(
            ledger=self.ledger,
            source=Source(
                fetcher=self.fetcher,
                read_upload=lambda upload_id: uploads.read(self.state_dir, upload_id),
                cache=self.cache,
                policy=Policy(),
                clock=self.clock,
                fetch_seconds=20.0,
            ),
            preparer=Preparer(
                decoder=self.decoder,  # type: ignore[arg-type]
                detector=self.detector,
                read_declaration=lambda data: self.declaration,
            ),
            engine=engine,
            cache=self.cache,
            clock=self.clock,
            worker="w",
            **options,  # type: ignore[arg-type]
        )
        self._made.append(shift)
        return shift

    def work(self, *entries: Entry, **options: object) -> list[Outcome]:
        self.ledger.post(*entries)
        self.shift(**options).work()
        return self.ledger.results

    def close(self) -> None:
        for gate in getattr(self.fetcher, "gates", {}).values():
            gate.set()
        self.detector.gate.set()
        for shift in self._made:
            shift.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(fetcher: ScriptedFetcher, clock: Clock | None = None) -> Stage:
        made.append(Stage(fetcher, tmp_path, clock or SystemClock()))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Background:
    """Runs calls on threads that do not outlive the tests, should one of them never end."""

    def submit(self, call: Callable[[], int]) -> Future[int]:
        promise: Future[int] = Future()

        def run() -> None:
            try:
                promise.set_result(call())
            except BaseException as error:
                promise.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return promise


@pytest.fixture
def background() -> Background:
    return Background()


def _url(name: str) -> str:
    return f"http://h.test/{name}.png"


# -- one scan


def test_shift_completes_a_scan_of_a_url(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    data = picture(255)

    (outcome,) = stage(ScriptedFetcher({_url("a"): data})).work(entry("a"))

    assert outcome.status is Status.COMPLETED
    assert outcome.verdict is Verdict.LIKELY_AI
    assert (outcome.score, outcome.worker, outcome.attempt) == (1.0, "w", 1)
    assert outcome.model is not None
    assert outcome.model.id == "fixed"
    seen = outcome.input
    assert (seen.kind, seen.url, seen.final_url) == (InputKind.URL, _url("a"), _url("a"))
    assert (seen.fetched_by, seen.bytes, seen.mime) == ("server", len(data), "image/png")
    assert (seen.width, seen.height, seen.frames) == (300, 300, 1)
    assert seen.sha256 is not None


def test_shift_records_a_span_of_each_stage_below_the_one_that_caused_it(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs pinclip[otel]")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    kept, provider = memory.InMemorySpanExporter(), sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(kept))
    cause = f"00-{'a' * 32}-{'b' * 16}-01"

    (outcome,) = stage(ScriptedFetcher({_url("a"): picture(0)})).work(
        entry("a", traceparent=cause), tracing=Tracing(provider)
    )

    spans = kept.get_finished_spans()
    assert {span.name for span in spans} == {"wait", "fetch", "decode", "score"}
    assert {span.name for span in spans} == set(outcome.seconds)
    for span in spans:
        assert format(span.context.trace_id, "032x") == "a" * 32
        assert format(span.parent.span_id, "016x") == "b" * 16
        assert dict(span.attributes) == {"scan_id": outcome.scan_id}


class InstantEngine(Engine):
    """Has answered before anybody heard that the image is prepared."""

    def score(
        self,
        arrays: Sequence[NDArray[np.float32]],
        *,
        first: bool = False,
        is_bulk: Callable[[], bool] = lambda: False,
    ) -> Future[list[Reading | Exception]]:
        promise = super().score(arrays, first=first, is_bulk=is_bulk)
        promise.result()
        return promise


@pytest.mark.parametrize("grey", [0, 255])
def test_shift_tells_all_of_a_picture_however_fast_the_model_is(
    stage: Callable[..., Stage], entry: Make, picture: Draw, grey: int
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(grey)}))
    play.engine_of = InstantEngine

    (outcome,) = play.work(entry("a"))

    seen = outcome.input
    assert (seen.mime, seen.width, seen.height, seen.frames) == ("image/png", 300, 300, 1)


def test_shift_completes_a_scan_of_an_upload(
    stage: Callable[..., Stage], entry: Make, picture: Draw, tmp_path: Path
) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "upl_1").write_bytes(picture(0))

    (outcome,) = stage(ScriptedFetcher({})).work(
        entry("a", kind=InputKind.UPLOAD, url=None, upload_id="upl_1")
    )

    assert outcome.verdict is Verdict.NO_SIGN_OF_AI
    assert outcome.input.fetched_by == "client"
    assert "client_supplied_bytes" in outcome.warnings


@pytest.mark.parametrize("upload_id", ["upl_gone", "../secret.png", "secret.png", "", None])
def test_shift_fails_a_scan_whose_upload_is_gone_or_never_was_one(
    stage: Callable[..., Stage], entry: Make, picture: Draw, tmp_path: Path, upload_id: str | None
) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "secret.png").write_bytes(picture(255))
    (tmp_path / "uploads" / "secret.png").write_bytes(picture(255))

    (outcome,) = stage(ScriptedFetcher({})).work(
        entry("a", kind=InputKind.UPLOAD, url=None, upload_id=upload_id)
    )

    assert outcome.error is not None
    assert outcome.error.code is ScanErrorCode.FETCH_NOT_FOUND
    assert "send the bytes again" in outcome.error.detail


def test_shift_fails_a_scan_that_is_refused(stage: Callable[..., Stage], entry: Make) -> None:
    refusal = Refusal(ScanErrorCode.FETCH_FORBIDDEN, "The host answered 403.")

    (outcome,) = stage(ScriptedFetcher({_url("a"): refusal})).work(entry("a"))

    assert (outcome.status, outcome.verdict) == (Status.FAILED, None)
    assert outcome.error == refusal.as_error()


def test_shift_keeps_what_it_knew_of_the_bytes_when_they_cannot_be_decoded(
    stage: Callable[..., Stage], entry: Make
) -> None:
    (outcome,) = stage(ScriptedFetcher({_url("a"): b"<html>"})).work(entry("a"))

    assert outcome.error is not None
    assert outcome.error.code is ScanErrorCode.NOT_AN_IMAGE
    assert outcome.input.bytes == 6


def test_shift_says_what_the_file_declares(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(0)}))
    play.declaration = Declaration(kind="xmp", trust="unsigned")

    (outcome,) = play.work(entry("a"))

    assert outcome.verdict is Verdict.DECLARED_AI
    assert outcome.declaration == play.declaration


def test_shift_judges_an_animation_by_its_brightest_frame(
    stage: Callable[..., Stage], entry: Make, animation: bytes
) -> None:
    play = stage(ScriptedFetcher({_url("a"): animation}))

    (outcome,) = play.work(entry("a"))

    assert outcome.input.frames == 3
    assert outcome.score is not None
    assert outcome.score > 0.95
    assert play.detector.sizes == [3, 1]


# -- a score that accuses is asked for again


class SecondTimeBroken:
    """Decodes an image once, and breaks when it is to be decoded again."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def decode(self, data: bytes) -> Decoded:
        if data in self.seen:
            raise RuntimeError("a bug that shows the second time")
        self.seen.add(data)
        return InProcessDecoder().decode(data)


def test_shift_calls_nothing_likely_ai_that_scores_low_re_encoded(
    stage: Callable[..., Stage], entry: Make, picture: Draw, flimsy: bytes
) -> None:
    play = stage(ScriptedFetcher({_url("a"): flimsy, _url("b"): picture(255)}))

    unstable, steady = sorted(
        play.work(entry("a"), entry("b")), key=lambda outcome: outcome.scan_id
    )

    assert (unstable.status, unstable.verdict) == (Status.COMPLETED, Verdict.INCONCLUSIVE)
    assert unstable.warnings == ("verdict_unstable",)
    assert unstable.score == pytest.approx(0.828, abs=1e-3)
    assert (steady.verdict, steady.warnings) == (Verdict.LIKELY_AI, ())
    assert sum(play.detector.sizes) == 4


@pytest.mark.parametrize("grey", [0, 255])
def test_shift_says_who_judged_and_how_long_the_bytes_are_vouched_for(
    stage: Callable[..., Stage], entry: Make, picture: Draw, grey: int
) -> None:
    fetcher = ScriptedFetcher({_url("a"): picture(grey), _url("b"): picture(grey)})
    fetcher.fresh[_url("a")] = 600.0
    play = stage(fetcher)
    began = play.clock.now()

    found = {outcome.scan_id: outcome for outcome in play.work(entry("a"), entry("b"))}

    assert {outcome.judge for outcome in found.values()} == {judge(play.detector)}
    assert found["a"].fresh_until is not None
    assert began + 600 <= found["a"].fresh_until <= play.clock.now() + 600
    assert found["b"].fresh_until is None, "the same bytes, but its host vouches for nothing"


def test_judge_is_another_where_anything_that_decides_is() -> None:
    judges = {judge(FixedDetector())}
    for name in ("weights_sha256", "calibration_id", "engine", "precision"):
        other = FixedDetector()
        setattr(other, name, "other")
        judges.add(judge(other))

    assert len(judges) == 5


def test_failed_scan_has_no_judge(stage: Callable[..., Stage], entry: Make) -> None:
    (outcome,) = stage(ScriptedFetcher({})).work(entry("a"))

    assert (outcome.status, outcome.judge, outcome.fresh_until) == (Status.FAILED, "", None)


@pytest.mark.parametrize("grey", [0, 128, 200])
def test_shift_asks_the_model_once_about_a_score_that_does_not_accuse(
    stage: Callable[..., Stage], entry: Make, picture: Draw, grey: int
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(grey)}))

    play.work(entry("a"))

    assert play.detector.sizes == [1]


def test_shift_asks_the_model_once_where_the_file_declares_ai(
    stage: Callable[..., Stage], entry: Make, flimsy: bytes
) -> None:
    play = stage(ScriptedFetcher({_url("a"): flimsy}))
    play.declaration = Declaration(kind="xmp", trust="unsigned")

    (outcome,) = play.work(entry("a"))

    assert outcome.verdict is Verdict.DECLARED_AI
    assert "verdict_unstable" not in outcome.warnings
    assert play.detector.sizes == [1]


@pytest.mark.parametrize("broken", ["decoder", "detector"])
def test_shift_accuses_nobody_when_the_score_cannot_be_asked_for_again(
    stage: Callable[..., Stage], entry: Make, picture: Draw, broken: str
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(255)}))
    if broken == "decoder":
        play.decoder = SecondTimeBroken()
    else:
        play.detector.batches_until_broken = 1

    with structlog.testing.capture_logs() as logs:
        (outcome,) = play.work(entry("a", request_id="req_1"))

    assert (outcome.status, outcome.verdict) == (Status.COMPLETED, Verdict.INCONCLUSIVE)
    assert (outcome.score, outcome.warnings) == (1.0, ("verdict_unstable",))
    assert outcome.judge == "", "another look might find otherwise"
    (line,) = [line for line in logs if line["event"] == "score_unconfirmed"]
    assert (line["scan_id"], line["request_id"], line["log_level"]) == ("a", "req_1", "warning")


@pytest.fixture
def animation() -> bytes:
    """A GIF of three frames: black, white, grey."""
    import io

    from PIL import Image

    frames = [Image.new("L", (300, 300), grey) for grey in (0, 255, 128)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def test_shift_returns_how_many_ended(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(255)}))
    play.ledger.post(entry("a"), entry("b"))
    shift = play.shift()

    assert shift.work() == 2
    assert shift.work() == 0


# -- failures stay alone


class BrokenDecoder:
    """Breaks in a way nobody foresaw on pictures that are not PNG."""

    def decode(self, data: bytes) -> Decoded:
        if not data.startswith(b"\x89PNG"):
            raise RuntimeError("a bug, with https://u:pw@h.test/?token=1 in it")
        return InProcessDecoder().decode(data)


def test_shift_fails_one_scan_alone_when_something_unforeseen_breaks(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    play = stage(ScriptedFetcher({_url("a"): b"x", _url("b"): picture(255)}))
    play.decoder = BrokenDecoder()

    outcomes = {outcome.scan_id: outcome for outcome in play.work(entry("a"), entry("b"))}

    error = outcomes["a"].error
    assert error is not None
    assert error.code is ScanErrorCode.SCORING_FAILED
    assert "RuntimeError" in error.detail
    assert "h.test" not in error.detail
    assert outcomes["b"].status is Status.COMPLETED


def test_shift_fails_one_scan_alone_when_the_model_fails_on_it(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(255), _url("b"): picture(0)}))
    play.detector.fails_on_white = True  # type: ignore[attr-defined]

    outcomes = {outcome.scan_id: outcome for outcome in play.work(entry("a"), entry("b"))}

    assert outcomes["a"].error is not None
    assert outcomes["a"].error.code is ScanErrorCode.SCORING_FAILED
    assert outcomes["b"].status is Status.COMPLETED


# -- who waits for whom


def test_shift_completes_the_others_while_one_fetch_is_slow(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    fetcher = GatedFetcher(
        {_url(name): picture(255) for name in ("slow", "a", "late")}, _url("slow")
    )
    play = stage(fetcher)
    play.ledger.post(entry("slow"), entry("a"))
    working = background.submit(play.shift().work)

    assert play.ledger.done("a").wait(30)
    play.ledger.post(entry("late"))  # Without a ticket: the shift is at work and looks itself.
    assert play.ledger.done("late").wait(30)
    assert not working.done()

    fetcher.gates[_url("slow")].set()
    assert working.result(30) == 3


def test_shift_batches_what_is_ready_and_lets_a_lone_scan_go_at_once(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    play = stage(ScriptedFetcher({_url(f"{i}"): picture(180 + i) for i in range(7)}))
    play.detector.gate.clear()
    play.ledger.post(entry("0"))
    shift = play.shift()
    working = background.submit(shift.work)
    assert play.detector.started.wait(30)

    play.ledger.post(*(entry(f"{i}") for i in range(1, 7)))
    _until(lambda: len(shift._engine._waiting) == 6)
    play.detector.gate.set()

    assert working.result(30) == 7
    assert play.detector.sizes == [1, 6]


def test_shift_holds_no_more_than_it_may(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    names = [str(i) for i in range(6)]
    fetcher = GatedFetcher({_url(n): picture(255) for n in names}, *map(_url, names))
    play = stage(fetcher)
    play.ledger.post(*(entry(n) for n in names))
    working = background.submit(play.shift(in_flight=2).work)

    _until(lambda: len(fetcher.arrived) == 2)
    threading.Event().wait(0.1)
    assert sorted(fetcher.arrived) == [_url("0"), _url("1")]

    for gate in fetcher.gates.values():
        gate.set()
    assert working.result(30) == 6


def test_shift_tells_the_phases_of_a_scan(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    fetcher = GatedFetcher({_url("a"): picture(255)}, _url("a"))
    play = stage(fetcher)
    play.detector.gate.clear()
    play.ledger.post(entry("a"))
    working = background.submit(play.shift().work)

    _until(lambda: play.ledger.phases.get("a") == "fetching")
    fetcher.gates[_url("a")].set()
    _until(lambda: play.ledger.phases.get("a") == "scoring")
    play.detector.gate.set()

    assert working.result(30) == 1


# -- people and bulk


class NotingDetector(BatchDetector):
    """Notes the greys of each batch, 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.greys: list[list[int]] = []

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.greys.append([round(255 * float(each.mean())) for each in batch])
        return super().forward(batch)


PERSON = 70
"""The grey of what a person asks about; bulk is darker. Neither is accused."""


@pytest.fixture
def busy(stage: Callable[..., Stage], entry: Make, picture: Draw) -> tuple[Stage, NotingDetector]:
    """A stage on which 40 bulk scans wait, and whose model takes one batch and is not done."""
    names = {f"bulk{i}": i for i in range(40)} | {"person": PERSON}
    play = stage(ScriptedFetcher({_url(name): picture(grey) for name, grey in names.items()}))
    play.detector = detector = NotingDetector()
    detector.gate.clear()
    play.ledger.post(*(entry(f"bulk{i}", priority=Priority.BULK) for i in range(40)))
    return play, detector


def test_shift_scores_what_a_person_asks_in_the_next_batch(
    busy: tuple[Stage, NotingDetector], entry: Make, background: Background
) -> None:
    play, detector = busy
    shift = play.shift()
    working = background.submit(shift.work)
    _until(lambda: len(shift._engine._waiting) + sum(detector.sizes) == 24)

    play.ledger.post(entry("person"))
    _until(lambda: len(shift._engine._waiting) + sum(detector.sizes) == 25)
    detector.gate.set()

    assert working.result(30) == 41
    assert PERSON in detector.greys[1]


def test_shift_hurries_with_a_bulk_image_that_a_person_asks_about_too(
    busy: tuple[Stage, NotingDetector], entry: Make, background: Background
) -> None:
    play, detector = busy
    shift = play.shift()
    working = background.submit(shift.work)
    _until(lambda: len(shift._engine._waiting) + sum(detector.sizes) == 24)
    last = shift._engine._waiting._waiting[-1]
    grey = round(255 * float(last.arrays[0].mean()))

    play.ledger.post(entry("person", url=_url(f"bulk{grey}")))
    _until(lambda: len(shift._held) == 25)
    _until(lambda: not last.is_bulk())
    detector.gate.set()

    assert working.result(30) == 41
    assert grey in detector.greys[1]
    assert sum(detector.sizes) == 40


@pytest.mark.parametrize(("in_flight", "most"), [(1, 1), (2, 1), (4, 3), (32, 24)])
def test_shift_leaves_a_quarter_of_its_places_to_people(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
    in_flight: int,
    most: int,
) -> None:
    names = [f"bulk{i}" for i in range(in_flight + 1)]
    play = stage(ScriptedFetcher({_url(name): picture(i) for i, name in enumerate(names)}))
    play.detector.gate.clear()
    play.ledger.post(*(entry(name, priority=Priority.BULK) for name in names))
    shift = play.shift(in_flight=in_flight)
    working = background.submit(shift.work)

    _until(lambda: len(shift._held) == most)
    threading.Event().wait(0.1)
    assert len(shift._held) == most

    play.detector.gate.set()
    assert working.result(30) == in_flight + 1


def test_shift_prepares_what_a_person_asks_before_the_bulk_that_waits(
    stage: Callable[..., Stage], entry: Make, picture: Draw, background: Background
) -> None:
    drawn = {f"bulk{i}": picture(i) for i in range(10)} | {"person": picture(PERSON)}
    play = stage(ScriptedFetcher({_url(name): data for name, data in drawn.items()}))
    play.decoder = decoder = GatedDecoder()
    play.ledger.post(*(entry(f"bulk{i}", priority=Priority.BULK) for i in range(10)))
    shift = play.shift(prepare_threads=1)
    working = background.submit(shift.work)
    _until(lambda: len(decoder.begun) + len(shift._bench._steps) == 10)

    play.ledger.post(entry("person"))
    _until(lambda: len(decoder.begun) + len(shift._bench._steps) == 11)
    decoder.gate.set()

    assert working.result(30) == 11
    assert decoder.begun[1] == drawn["person"]


class GatedDecoder:
    """Notes what it begins to decode, and goes on once `gate` is open."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.gate = threading.Event()

    def decode(self, data: bytes) -> Decoded:
        self.begun.append(data)
        assert self.gate.wait(30)
        return InProcessDecoder().decode(data)


def test_shift_admits_what_a_person_asks_before_a_bulk_suspect(
    stage: Callable[..., Stage], entry: Make, picture: Draw, background: Background
) -> None:
    clock = ManualClock()
    drawn = {"bulk": picture(1), "suspect": picture(2), "person": picture(PERSON)}
    play = stage(ScriptedFetcher({_url(name): data for name, data in drawn.items()}), clock)
    play.decoder = decoder = GatedDecoder()
    play.ledger.post(entry("suspect", priority=Priority.BULK))
    play.ledger.peer("dead").claim(1)
    clock.advance(20)
    play.ledger.post(entry("bulk", priority=Priority.BULK))
    shift = play.shift()
    working = background.submit(shift.work)
    _until(lambda: len(decoder.begun) == 1)
    clock.advance(11)
    _until(lambda: len(shift._bench._queue) == 1)  # The suspect, as long as "bulk" is inside.

    play.ledger.post(entry("person"))
    clock.advance(1)  # Time to look again.
    _until(lambda: len(decoder.begun) == 2)
    decoder.gate.set()

    assert working.result(30) == 3
    assert decoder.begun == [drawn["bulk"], drawn["person"], drawn["suspect"]]


@pytest.mark.parametrize("people", [4, 12], ids=["fewer than places", "more than places"])
def test_shift_finishes_bulk_although_people_keep_coming(
    stage: Callable[..., Stage], entry: Make, picture: Draw, people: int
) -> None:
    left = {f"bulk{i}" for i in range(6)}
    play = stage(ScriptedFetcher({_url(f"bulk{i}"): picture(i) for i in range(6)}))
    play.ledger.post(*(entry(name, priority=Priority.BULK) for name in left))
    came = 0

    def come() -> None:
        nonlocal came
        came += 1
        url = _url(f"person{came}")
        play.fetcher.answers[url] = picture(PERSON, size=(300 + came, 300))
        play.ledger.post(entry(f"person{came}", url=url))

    def end(outcome: Outcome) -> None:
        left.discard(outcome.scan_id)
        if outcome.scan_id.startswith("person") and left and came < 1000:
            come()

    for _ in range(people):
        come()
    play.ledger.on_complete = end
    play.work(in_flight=8)

    assert came < 1000  # Bulk did not wait until nobody came any more.
    assert play.ledger.depth() == 0


# -- time


def test_shift_fails_a_scan_whose_deadline_has_passed(
    stage: Callable[..., Stage], entry: Make
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({}), clock)

    (outcome,) = play.work(entry("a", deadline=clock.now() - 1))

    assert outcome.error is not None
    assert outcome.error.code is ScanErrorCode.DEADLINE_EXCEEDED
    assert play.fetcher.asked == []


def test_shift_fails_a_scan_whose_deadline_passes_while_a_step_hangs(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    clock = ManualClock()
    fetcher = GatedFetcher({_url("a"): picture(255)}, _url("a"))
    play = stage(fetcher, clock)
    play.ledger.post(entry("a", deadline=clock.now() + 60))
    working = background.submit(play.shift().work)
    _until(lambda: fetcher.arrived == [_url("a")])

    clock.advance(61)

    assert working.result(30) == 1
    (outcome,) = play.ledger.results
    assert outcome.error is not None
    assert outcome.error.code is ScanErrorCode.DEADLINE_EXCEEDED


def test_shift_fetches_no_longer_than_until_the_deadline(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    clock = ManualClock()
    fetcher = GatedFetcher({_url("a"): picture(255), _url("b"): picture(255)})

    stage(fetcher, clock).work(
        entry("a", deadline=clock.now() + 5), entry("b", deadline=clock.now() + 500)
    )

    assert sorted(round(seconds) for seconds in fetcher.timeouts) == [5, 20]


# -- leases and attempts


def test_shift_renews_the_leases_of_what_it_holds(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    fetcher = GatedFetcher({_url("a"): picture(255)}, _url("a"))
    play = stage(fetcher)
    play.ledger.post(entry("a"))
    working = background.submit(play.shift(beat_seconds=0.01).work)

    assert play.ledger.renewed.wait(30)

    fetcher.gates[_url("a")].set()
    working.result(30)


def test_shift_renews_no_lease_when_the_work_loop_is_stuck(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({_url(n): picture(255) for n in "ab"}), clock)
    stuck, go_on = threading.Event(), threading.Event()

    def hang(outcome: Outcome) -> None:
        if outcome.scan_id == "a":
            stuck.set()
            assert go_on.wait(30)

    play.ledger.on_complete = hang
    play.ledger.post(entry("a"))
    shift = play.shift(beat_seconds=0.01)
    working = background.submit(shift.work)
    assert stuck.wait(30)
    clock.advance(STALL_SECONDS + 1)
    threading.Event().wait(0.05)  # A renewal that was under way may still end.

    play.ledger.renewed.clear()
    assert not shift.is_moving()
    assert not play.ledger.renewed.wait(0.1)

    go_on.set()
    working.result(30)
    assert shift.is_moving()


def test_shift_gives_up_when_the_model_hangs(
    stage: Callable[..., Stage], entry: Make, picture: Draw, background: Background
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({_url("a"): picture(255)}), clock)
    play.detector.gate.clear()
    play.ledger.post(entry("a"))
    shift = play.shift()
    working = background.submit(shift.work)
    assert play.detector.started.wait(30)

    clock.advance(HANG_SECONDS + 1)

    with pytest.raises(ModelHung):
        working.result(30)
    assert not shift.is_moving()


def test_shift_drops_its_outcome_when_the_lease_has_passed(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    clock = ManualClock()
    fetcher = GatedFetcher({_url("a"): picture(255)}, _url("a"))
    play = stage(fetcher, clock)
    play.ledger.post(entry("a"))
    working = background.submit(play.shift().work)
    _until(lambda: fetcher.arrived == [_url("a")])
    clock.advance(31)
    other = play.ledger.peer("other")
    (claim,) = other.claim(1)

    with structlog.testing.capture_logs() as logs:
        fetcher.gates[_url("a")].set()
        working.result(30)

    assert play.ledger.results == []
    assert "scan_passed_on" in [line["event"] for line in logs]
    assert claim.attempt == 2


def _attempted(play: Stage, made: Entry, deliveries: int, clock: ManualClock) -> None:
    """Post an entry that so many workers have died on."""
    play.ledger.post(made)
    for _ in range(deliveries):
        play.ledger.peer("dead").claim(1)
        clock.advance(31)


def test_shift_fails_a_scan_that_too_many_workers_died_on(
    stage: Callable[..., Stage], entry: Make
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({}), clock)
    _attempted(play, entry("a"), ATTEMPT_LIMIT, clock)

    (outcome,) = play.work()

    assert outcome.error is not None
    assert outcome.error.code is ScanErrorCode.WORKER_LOST
    assert play.fetcher.asked == []


@pytest.mark.parametrize("deliveries", range(1, ATTEMPT_LIMIT))
def test_shift_tries_a_scan_again_that_a_worker_died_on(
    stage: Callable[..., Stage], entry: Make, picture: Draw, deliveries: int
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({_url("a"): picture(255)}), clock)
    _attempted(play, entry("a"), deliveries, clock)

    (outcome,) = play.work()

    assert (outcome.status, outcome.attempt) == (Status.COMPLETED, deliveries + 1)


def test_shift_scores_a_suspect_alone(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    clock = ManualClock()
    names = [f"s{i}" for i in range(3)] + [f"n{i}" for i in range(5)]
    drawn = {_url(name): picture(240 + number) for number, name in enumerate(names)}
    play = stage(ScriptedFetcher(drawn), clock)
    for name in names[:3]:
        play.ledger.post(entry(name))
    play.ledger.peer("dead").claim(8)
    clock.advance(31)
    inside = _Inside(play)

    play.work(*(entry(name) for name in names[3:]))

    assert len(play.ledger.results) == 8
    assert inside.most_beside_a_suspect == 1


class _Inside:
    """Counts how many pictures are between decode and score at once; suspects are darker."""

    def __init__(self, play: Stage) -> None:
        self.most_beside_a_suspect = 0
        self._play = play
        play.decoder = self

    def decode(self, data: bytes) -> Decoded:
        inside = self._shift()._bench._inside
        if any(held.is_suspect for held in inside):
            self.most_beside_a_suspect = max(self.most_beside_a_suspect, len(inside))
        return InProcessDecoder().decode(data)

    def _shift(self) -> Shift:
        return self._play._made[-1]


def test_shift_lets_nobody_join_a_suspect(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    clock = ManualClock()
    fetcher = ScriptedFetcher({_url("a"): picture(255)})
    play = stage(fetcher, clock)
    _attempted(play, entry("suspect", url=_url("a")), 1, clock)
    decoder = play.decoder = SlowDecoder()

    play.work(entry("b", url=_url("a")), entry("c", url=_url("a")))

    assert [outcome.attempt for outcome in play.ledger.results].count(2) == 1
    assert len(fetcher.asked) == 2
    assert decoder.most_at_once == 1


def test_shift_needs_no_look_at_a_suspect_that_is_known(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({_url("a"): picture(0)}), clock)
    play.work(entry("before", url=_url("a")))
    _until(lambda: play.cache.images)
    _attempted(play, entry("suspect", url=_url("a")), 1, clock)

    play.work()

    assert play.detector.sizes == [1]
    assert play.ledger.results[-1].verdict is Verdict.NO_SIGN_OF_AI


def test_shift_waits_for_no_other_worker_with_a_suspect(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    clock = ManualClock()
    play = stage(ScriptedFetcher({_url("a"): picture(0)}), clock)
    _attempted(play, entry("a"), 1, clock)
    play.cache.claims.add(sha256(picture(0)).hexdigest())
    before = clock.monotonic()

    (outcome,) = play.work()

    assert outcome.status is Status.COMPLETED
    assert clock.monotonic() == before


class SlowDecoder:
    """Counts how many pictures are decoded at once."""

    def __init__(self) -> None:
        self.most_at_once = 0
        self._lock, self._now = threading.Lock(), 0

    def decode(self, data: bytes) -> Decoded:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        threading.Event().wait(0.05)
        with self._lock:
            self._now -= 1
        return InProcessDecoder().decode(data)


def test_shift_gives_a_last_attempt_the_whole_worker(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    clock = ManualClock()
    names = ("before", "last", "after")
    fetcher = GatedFetcher({_url(n): picture(255) for n in names}, *map(_url, names))
    play = stage(fetcher, clock)
    _attempted(play, entry("last"), ATTEMPT_LIMIT - 2, clock)
    play.ledger.peer("dead").claim(1)
    play.ledger.post(entry("before"))
    working = background.submit(play.shift().work)
    _until(lambda: fetcher.arrived == [_url("before")])

    clock.advance(31)  # The last lease of "last" runs out.
    play.ledger.post(entry("after"))
    _until(lambda: play.ledger.phases.get("last") == "fetching")
    threading.Event().wait(0.1)
    assert fetcher.arrived == [_url("before")]

    fetcher.gates[_url("before")].set()
    _until(lambda: len(fetcher.arrived) == 2)
    threading.Event().wait(0.1)
    assert fetcher.arrived == [_url("before"), _url("last")]

    fetcher.gates[_url("last")].set()
    fetcher.gates[_url("after")].set()
    assert working.result(30) == 3
    assert [outcome.scan_id for outcome in play.ledger.results] == ["before", "last", "after"]


# -- Redis down, and stops


def test_shift_keeps_outcomes_until_the_ledger_is_back(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    fetcher = GatedFetcher({_url("a"): picture(255)}, _url("a"))
    play = stage(fetcher)
    play.ledger.post(entry("a"))
    working = background.submit(play.shift().work)
    _until(lambda: fetcher.arrived == [_url("a")])

    play.ledger.is_down = True
    fetcher.gates[_url("a")].set()
    threading.Event().wait(0.2)
    assert play.ledger.results == []
    assert not working.done()
    play.ledger.is_down = False

    assert working.result(30) == 1
    assert len(play.ledger.results) == 1


def test_shift_publishes_again_what_the_ledger_could_not_write(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    play = stage(ScriptedFetcher({_url("a"): picture(255)}))
    play.ledger.failing_completions = 2

    outcomes = play.work(entry("a"), entry("b"))

    assert sorted(outcome.scan_id for outcome in outcomes) == ["a", "b"]


def test_shift_raises_unavailable_when_it_holds_nothing(
    stage: Callable[..., Stage], entry: Make
) -> None:
    play = stage(ScriptedFetcher({}))
    play.ledger.is_down = True

    with pytest.raises(Unavailable):
        play.shift().work()


def test_shift_finishes_what_it_holds_and_claims_no_more_after_a_stop(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    fetcher = GatedFetcher({_url("a"): picture(255), _url("b"): picture(255)}, _url("a"))
    play = stage(fetcher)
    play.ledger.post(entry("a"))
    shift = play.shift()
    working = background.submit(shift.work)
    _until(lambda: fetcher.arrived == [_url("a")])

    shift.stop()
    play.ledger.post(entry("b"))
    fetcher.gates[_url("a")].set()

    assert working.result(30) == 1
    assert [outcome.scan_id for outcome in play.ledger.results] == ["a"]
    assert play.ledger.depth() == 1


def test_shift_gives_back_what_is_not_done_in_time_after_a_stop(
    stage: Callable[..., Stage],
    entry: Make,
    picture: Draw,
    background: Background,
) -> None:
    clock = ManualClock()
    fetcher = GatedFetcher({_url("a"): picture(255)}, _url("a"))
    play = stage(fetcher, clock)
    play.ledger.post(entry("a"))
    shift = play.shift()
    working = background.submit(shift.work)
    _until(lambda: fetcher.arrived == [_url("a")])

    shift.stop()
    _until(lambda: shift._stop_by is not None)
    clock.advance(9)

    assert working.result(30) == 0
    (again,) = play.ledger.peer("other").claim(8)
    assert (again.entry.scan_id, again.attempt) == ("a", 1)


# -- what the log says


def test_shift_logs_one_line_a_scan_without_the_query(
    stage: Callable[..., Stage], entry: Make, picture: Draw
) -> None:
    url = "http://h.test/a.png?signature=canary"
    play = stage(ScriptedFetcher({url: picture(255)}))

    with structlog.testing.capture_logs() as logs:
        play.work(entry("a", url=url, request_id="req_1"), entry("b"))

    lines = {line["scan_id"]: line for line in logs if "scan_id" in line}
    assert len(lines) == len([line for line in logs if "scan_id" in line]) == 2
    done, failed = lines["a"], lines["b"]
    assert (done["event"], done["code"], done["verdict"]) == ("scan_completed", None, "likely_ai")
    assert (done["request_id"], done["url_host"]) == ("req_1", "h.test")
    assert done["duration_ms"] >= 0
    assert (failed["event"], failed["code"]) == ("scan_failed", "fetch_dns")
    assert "canary" not in str(logs)


def test_shift_logs_a_fault_with_its_traceback(stage: Callable[..., Stage], entry: Make) -> None:
    play = stage(ScriptedFetcher({_url("a"): b"x"}))
    play.decoder = BrokenDecoder()

    with structlog.testing.capture_logs() as logs:
        play.work(entry("a"))

    (broke,) = [line for line in logs if line["event"] == "scan_broke"]
    assert isinstance(broke["exc_info"], RuntimeError)
    assert broke["scan_id"] == "a"


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not become true in 10 s")

"""Work that is done once for many: real origins, a real Valkey, and workers that share it.

What is counted: requests that reach the origin, and pictures that reach the model.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
import redis
import structlog
from numpy.typing import NDArray

from sdk.codes import ScanErrorCode
from sdk.wire import InputKind, PointName, Status, Verdict
from tests.valkey_server import Valkey, running
from worker import uploads
from worker.cache import RedisCache
from worker.clock import SystemClock
from worker.contract import FIELD, RESULTS, SCANS, Entry, Outcome, decode_outcome, encode
from worker.engine import Engine
from worker.fetcher import HttpFetcher
from worker.guard import Policy
from worker.intake import Preparer, Source
from worker.ledger import StreamLedger
from worker.shift import Shift
from worker.testing import FixedDetector, InProcessDecoder

from .origins import Origin, Script, redirect, response

pytestmark = pytest.mark.redis

Make = Callable[..., Entry]
Draw = Callable[..., bytes]
ACCUSED_BY_SENSITIVE = 178
"""A grey that scores 0.698: over the threshold of `sensitive` and over no other."""


class CountingDetector(FixedDetector):
    """Notes the sizes of its batches; each waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        assert self.gate.wait(30)
        return super().forward(batch)


class Worker:
    """All that a worker process is made of, in this process; the decoder is no child."""

    def __init__(self, stack: ExitStack, *, url: str, cache_url: str, folder: Path, port: int):
        self.detector, clock = CountingDetector(), SystemClock()
        policy = Policy(["127.0.0.0/8"], [port])
        self.cache = RedisCache(cache_url, detector=self.detector, clock=clock, timeout_seconds=5)
        fetcher = stack.enter_context(closing(HttpFetcher(policy)))
        self.shift = Shift(
            ledger=StreamLedger(url, worker=f"w{id(self)}", timeout_seconds=5),
            source=Source(
                fetcher=fetcher,
                read_upload=lambda upload_id: uploads.read(folder, upload_id),
                cache=self.cache,
                policy=policy,
                clock=clock,
                fetch_seconds=20.0,
            ),
            preparer=Preparer(
                decoder=InProcessDecoder(),
                detector=self.detector,
                read_declaration=lambda data: None,
            ),
            engine=Engine(self.detector, batch_limit=8),
            cache=self.cache,
            clock=clock,
            worker="w",
            in_flight=16,
        )
        stack.callback(self.close)

    def start(self) -> Callable[[], None]:
        """Work on a thread; what is returned waits until all that waits is done."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.shift.work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def join() -> None:
            thread.join(30)
            assert failures == []
            assert not thread.is_alive()

        return join

    def close(self) -> None:
        self.detector.gate.set()
        self.shift.close()
        self.cache.close()


class Town:
    """An origin of one path, workers around one Redis, and what they made of their scans."""

    def __init__(self, stack: ExitStack, valkey: Valkey, client: redis.Redis, folder: Path) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.answer: Callable[[str], Script] = lambda path: [response(status=404)]
        self.origin = stack.enter_context(closing(Origin(self._script)))
        stack.callback(self.gate.set)
        self._stack, self._valkey, self._client, self._folder = stack, valkey, client, folder

    def serve(self, *answers: bytes) -> None:
        """Answer request after request by these, and all later ones by the last."""
        left = list(answers)
        self.answer = lambda path: [left.pop(0) if len(left) > 1 else left[0]]

    def worker(self, *, cache_url: str = "") -> Worker:
        return Worker(
            self._stack,
            url=self._valkey.url,
            cache_url=cache_url or self._valkey.url,
            folder=self._folder,
            port=self.origin.port,
        )

    def post(self, *entries: Entry) -> None:
        for entry in entries:
            self._client.xadd(SCANS, {FIELD: encode(entry)})

    def scan(self, worker: Worker, *entries: Entry) -> dict[str, Outcome]:
        """Post these, work until all is done and remembered, and return all outcomes so far."""
        self.post(*entries)
        worker.start()()
        _until(lambda: not self._client.keys("pinclip:looking:*"))
        return self.outcomes()

    def outcomes(self) -> dict[str, Outcome]:
        found = [decode_outcome(row[FIELD.encode()]) for _, row in self._client.xrange(RESULTS)]
        assert len({outcome.scan_id for outcome in found}) == len(found)
        return {outcome.scan_id: outcome for outcome in found}

    def conditions(self) -> list[str | None]:
        """Of each request that came: the condition it was made under."""
        return [_condition(head) for head in self.origin.heads]

    def _script(self, path: str) -> Iterator[bytes | float | str]:
        answer = self.answer(path)
        assert self.gate.wait(30)
        yield from answer


def _condition(head: str) -> str | None:
    lines = [line for line in head.split("\r\n") if line.lower().startswith("if-")]
    return lines[0] if lines else None


def _until(holds: Callable[[], object]) -> None:
    for _ in range(1500):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not become true in 15 s")


@pytest.fixture
def town(valkey: Valkey, client: redis.Redis, tmp_path: Path) -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(stack, valkey, client, tmp_path)


# -- in one worker, at once


def test_a_hundred_callers_cost_one_fetch_and_one_look(
    town: Town, entry: Make, picture: Draw
) -> None:
    town.serve(response(picture(ACCUSED_BY_SENSITIVE)))
    points = list(PointName)
    entries = [
        entry(f"s{n}", url=town.origin.url("/a.png"), operating_point=points[n % 3])
        for n in range(100)
    ]
    worker = town.worker()
    town.gate.clear()
    town.post(*entries)
    join = worker.start()
    _until(lambda: len(worker.shift._held) == 100)

    town.gate.set()
    join()

    assert len(town.origin.heads) == 1
    assert worker.detector.sizes == [1, 1]  # The picture, and re-encoded for `sensitive`.
    outcomes = town.outcomes()
    assert len(outcomes) == 100
    for each in entries:
        outcome = outcomes[each.scan_id]
        is_accused = each.operating_point is PointName.SENSITIVE
        assert outcome.verdict is (Verdict.LIKELY_AI if is_accused else Verdict.INCONCLUSIVE)
        assert outcome.operating_point is not None
        assert outcome.operating_point.name is each.operating_point
        assert outcome.input.url == each.url
    for stage, scans in (("wait", 100), ("fetch", 1), ("decode", 2), ("score", 2)):
        spent = [out.seconds[stage] for out in outcomes.values() if stage in out.seconds]
        assert len(spent) == scans, stage
        assert min(spent) >= 0


def test_scans_of_the_same_bytes_at_two_urls_share_the_look_only(
    town: Town, entry: Make, picture: Draw
) -> None:
    town.serve(response(picture(0)))
    worker = town.worker()
    town.gate.clear()
    town.post(*(entry(name, url=town.origin.url(f"/{name}.png")) for name in "abcd"))
    join = worker.start()
    _until(lambda: len(town.origin.heads) == 4)

    town.gate.set()
    join()

    assert worker.detector.sizes == [1]
    for name, outcome in town.outcomes().items():
        assert outcome.input.final_url == town.origin.url(f"/{name}.png")


def test_an_upload_and_a_url_of_the_same_bytes_are_told_apart(
    town: Town, entry: Make, picture: Draw, tmp_path: Path
) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "upl_1").write_bytes(picture(0))
    town.serve(response(picture(0)))
    worker = town.worker()
    worker.detector.gate.clear()
    town.post(
        entry("url", url=town.origin.url("/a.png")),
        entry("upload", kind=InputKind.UPLOAD, url=None, upload_id="upl_1"),
    )
    join = worker.start()
    _until(lambda: len(town.origin.heads) == 1 and len(worker.shift._bench) == 1)

    worker.detector.gate.set()
    join()

    assert worker.detector.sizes == [1]
    url, upload = (town.outcomes()[name] for name in ("url", "upload"))
    assert (url.input.kind, url.input.fetched_by, url.warnings) == (InputKind.URL, "server", ())
    assert (upload.input.kind, upload.input.url, upload.input.fetched_by) == (
        InputKind.UPLOAD,
        None,
        "client",
    )
    assert upload.warnings == ("client_supplied_bytes",)
    assert (url.input.sha256, url.input.width) == (upload.input.sha256, 300)


def test_a_scan_that_comes_while_the_model_looks_joins(
    town: Town, entry: Make, picture: Draw
) -> None:
    town.serve(response(picture(0)))
    worker = town.worker()
    worker.detector.gate.clear()
    town.post(entry("early", url=town.origin.url("/a.png")))
    join = worker.start()
    _until(lambda: worker.detector.sizes)

    spelt = town.origin.url("/a.png").replace("http:", "HTTP:")
    town.post(entry("late", url=spelt))
    _until(lambda: len(worker.shift._held) == 2)
    worker.detector.gate.set()
    join()

    assert (len(town.origin.heads), worker.detector.sizes) == (1, [1])
    early, late = (town.outcomes()[name] for name in ("early", "late"))
    assert late.input == msgspec.structs.replace(early.input, url=spelt)


def test_what_is_wrong_with_the_image_is_wrong_for_all(town: Town, entry: Make) -> None:
    town.serve(response(status=404))
    worker = town.worker()
    town.gate.clear()
    town.post(*(entry(f"s{n}", url=town.origin.url("/a.png")) for n in range(20)))
    join = worker.start()
    _until(lambda: len(worker.shift._held) == 20)

    town.gate.set()
    join()

    assert len(town.origin.heads) == 1
    codes = [outcome.error and outcome.error.code for outcome in town.outcomes().values()]
    assert codes == [ScanErrorCode.FETCH_NOT_FOUND] * 20


def test_a_scan_outlives_the_deadline_of_the_one_it_joined(
    town: Town, entry: Make, picture: Draw
) -> None:
    town.serve(response(picture(0)))
    worker = town.worker()
    town.gate.clear()
    url = town.origin.url("/a.png")
    town.post(entry("hasty", url=url, deadline=SystemClock().now() + 3))
    join = worker.start()
    _until(lambda: town.origin.heads)
    town.post(entry("patient", url=url))
    _until(lambda: len(worker.shift._bench._gets[url].waiting) == 2)

    _until(lambda: "hasty" in town.outcomes())
    _until(lambda: len(town.origin.heads) == 2)  # The fetch had only as long as `hasty`.
    town.gate.set()
    join()

    hasty, patient = (town.outcomes()[name] for name in ("hasty", "patient"))
    assert hasty.error is not None
    assert hasty.error.code is ScanErrorCode.DEADLINE_EXCEEDED
    assert patient.status is Status.COMPLETED


# -- in one worker, later


def test_an_image_is_looked_at_once_whatever_it_is_asked_for(
    town: Town, entry: Make, picture: Draw
) -> None:
    town.serve(response(picture(ACCUSED_BY_SENSITIVE)))
    worker = town.worker()
    found = {}
    for point in (PointName.STRICT, PointName.BALANCED):
        made = entry(point.value, url=town.origin.url("/a.png"), operating_point=point)
        found = town.scan(worker, made)
    assert worker.detector.sizes == [1]

    for name in ("first", "second"):
        made = entry(name, url=town.origin.url("/a.png"), operating_point=PointName.SENSITIVE)
        found = town.scan(worker, made)

    assert worker.detector.sizes == [1, 1]  # Nothing hung on it re-encoded, before.
    verdicts = [outcome.verdict for outcome in found.values()]
    assert verdicts == [Verdict.INCONCLUSIVE] * 2 + [Verdict.LIKELY_AI] * 2
    assert found["second"].reasons == found["first"].reasons
    assert len(town.origin.heads) == 4


def test_an_image_that_changed_is_looked_at_anew(town: Town, entry: Make, picture: Draw) -> None:
    town.serve(response(picture(255)), response(picture(0)))
    worker = town.worker()
    url = town.origin.url("/a.png")

    town.scan(worker, entry("before", url=url))
    found = town.scan(worker, entry("after", url=url))

    assert found["before"].verdict is Verdict.LIKELY_AI
    assert found["after"].verdict is Verdict.NO_SIGN_OF_AI
    assert town.conditions() == [None, None]


# -- 304


@pytest.mark.parametrize(("says", "seconds"), [(["Cache-Control: max-age=60"], 60), ([], None)])
def test_a_304_vouches_anew_by_its_own_headers(
    town: Town, entry: Make, picture: Draw, says: list[str], seconds: float | None
) -> None:
    etag, url = 'ETag: "v1"', town.origin.url("/a.png")
    first = response(picture(0), headers=[etag, "Cache-Control: max-age=600"])
    town.serve(first, response(status=304, headers=[etag, *says]))
    worker, now = town.worker(), SystemClock().now()

    town.scan(worker, entry("first", url=url))
    found = town.scan(worker, entry("second", url=url))

    assert found["first"].fresh_until == pytest.approx(now + 600, abs=30)
    assert town.conditions() == [None, 'If-None-Match: "v1"']
    assert found["second"].fresh_until == (seconds and pytest.approx(now + seconds, abs=30))


def test_an_unchanged_image_is_judged_without_its_bytes(
    town: Town, entry: Make, picture: Draw
) -> None:
    etag = 'ETag: "v1"'
    town.serve(response(picture(255), headers=[etag]), response(status=304, headers=[etag]))
    url = town.origin.url("/a.png?signature=1")

    town.scan(town.worker(), entry("before", url=url))
    other = town.worker()
    found = town.scan(other, entry("after", url=url, operating_point=PointName.STRICT))

    assert town.conditions() == [None, 'If-None-Match: "v1"']
    assert other.detector.sizes == []
    assert found["after"].input == found["before"].input
    assert found["after"].input.sha256 == hashlib.sha256(picture(255)).hexdigest()
    assert found["after"].verdict is found["before"].verdict is Verdict.LIKELY_AI
    assert found["after"].operating_point != found["before"].operating_point


def test_an_image_with_another_etag_is_looked_at_anew(
    town: Town, entry: Make, picture: Draw
) -> None:
    town.serve(
        response(picture(255), headers=['ETag: "v1"']), response(picture(0), headers=['ETag: "v2"'])
    )
    worker, url = town.worker(), town.origin.url("/a.png")

    town.scan(worker, entry("before", url=url))
    found = town.scan(worker, entry("after", url=url))
    town.scan(worker, entry("again", url=url))

    assert found["after"].verdict is Verdict.NO_SIGN_OF_AI
    assert town.conditions() == [None, 'If-None-Match: "v1"', 'If-None-Match: "v2"']


def test_bytes_are_asked_for_while_a_verdict_may_hang_on_them(
    town: Town, entry: Make, picture: Draw
) -> None:
    body = response(picture(ACCUSED_BY_SENSITIVE), headers=['ETag: "v1"'])
    town.serve(body, body, response(status=304))
    worker, url = town.worker(), town.origin.url("/a.png")

    for name in ("first", "second", "third"):
        point = PointName.STRICT if name == "first" else PointName.SENSITIVE
        found = town.scan(worker, entry(name, url=url, operating_point=point))

    assert town.conditions() == [None, None, 'If-None-Match: "v1"']
    assert found["second"].verdict is found["third"].verdict is Verdict.LIKELY_AI


def test_a_304_is_no_answer_once_redirects_end_elsewhere(
    town: Town, entry: Make, picture: Draw
) -> None:
    ends = ["/one.png", "/two.png"]
    body = response(picture(255), headers=['ETag: "v1"'])

    def answer(path: str) -> Script:
        if path == "/a.png":
            return [redirect(ends.pop(0))]
        return [body if path == "/one.png" else response(picture(0), headers=['ETag: "v1"'])]

    town.answer = answer
    worker, url = town.worker(), town.origin.url("/a.png")

    town.scan(worker, entry("before", url=url))
    found = town.scan(worker, entry("after", url=url))

    assert town.conditions() == [None] * 4
    assert found["after"].verdict is Verdict.NO_SIGN_OF_AI


@pytest.mark.parametrize(
    "second",
    [response(status=500), response(status=412), response(status=304, headers=['ETag: "v9"'])],
    ids=["500", "412", "304 of other bytes"],
)
def test_a_host_that_chokes_on_a_condition_is_asked_without(
    town: Town, entry: Make, picture: Draw, second: bytes
) -> None:
    body = response(picture(255), headers=['ETag: "v1"'])
    town.serve(body, second, body)
    worker, url = town.worker(), town.origin.url("/a.png")

    town.scan(worker, entry("before", url=url))
    found = town.scan(worker, entry("after", url=url))

    assert found["after"].verdict is Verdict.LIKELY_AI
    assert town.conditions() == [None, 'If-None-Match: "v1"', None]


def test_what_may_not_be_stored_is_forgotten(town: Town, entry: Make, picture: Draw) -> None:
    town.serve(
        response(picture(0), headers=['ETag: "v1"']),
        response(picture(0), headers=['ETag: "v1"', "Cache-Control: private, no-store"]),
    )
    worker, url = town.worker(), town.origin.url("/a.png")

    for name in ("first", "second", "third"):
        town.scan(worker, entry(name, url=url))

    assert town.conditions() == [None, 'If-None-Match: "v1"', None]


# -- several workers


def test_two_workers_look_at_an_image_once(town: Town, entry: Make, picture: Draw) -> None:
    town.serve(response(picture(0)))
    here, there = town.worker(), town.worker()
    here.detector.gate.clear()
    there.detector.gate.clear()
    url = town.origin.url("/a.png")
    town.post(*(entry(f"h{n}", url=url) for n in range(10)))
    join_here = here.start()
    _until(lambda: here.detector.sizes and len(here.shift._held) == 10)
    here.shift.stop()  # It finishes what it holds and takes no more.
    town.post(*(entry(f"t{n}", url=url) for n in range(10)))
    join_there = there.start()
    _until(lambda: len(town.origin.heads) == 2 and len(there.shift._held) == 10)

    here.detector.gate.set()
    join_here()
    join_there()

    assert (here.detector.sizes, there.detector.sizes) == ([1], [])
    assert len(town.outcomes()) == 20
    assert {outcome.verdict for outcome in town.outcomes().values()} == {Verdict.NO_SIGN_OF_AI}


def test_a_worker_looks_itself_when_the_one_that_began_is_gone(
    town: Town, entry: Make, picture: Draw, client: redis.Redis
) -> None:
    town.serve(response(picture(0)))
    dead, worker = town.worker(), town.worker()
    assert dead.cache.claim(hashlib.sha256(picture(0)).hexdigest())
    town.post(entry("a", url=town.origin.url("/a.png")))
    join = worker.start()
    _until(lambda: town.origin.heads)
    threading.Event().wait(0.3)
    assert worker.detector.sizes == []

    (claim,) = client.keys("pinclip:looking:*")
    client.pexpire(claim, 1)  # As it does by itself within seconds.
    join()

    assert worker.detector.sizes == [1]
    assert town.outcomes()["a"].status is Status.COMPLETED


def test_a_scan_waits_for_no_other_worker_past_its_deadline(
    town: Town, entry: Make, picture: Draw, client: redis.Redis
) -> None:
    town.serve(response(picture(0)))
    dead, worker = town.worker(), town.worker()
    assert dead.cache.claim(hashlib.sha256(picture(0)).hexdigest())
    soon = SystemClock().now() + 1

    town.post(entry("a", url=town.origin.url("/a.png"), deadline=soon))
    worker.start()()

    error = town.outcomes()["a"].error
    assert error is not None
    assert error.code is ScanErrorCode.DEADLINE_EXCEEDED
    assert client.keys("pinclip:looking:*")  # The claim had not run out yet.


# -- without a cache


def test_scans_are_done_as_well_when_the_cache_is_away(
    town: Town, entry: Make, picture: Draw, tmp_path: Path
) -> None:
    town.serve(response(picture(255), headers=['ETag: "v1"']))
    worker = town.worker(cache_url=f"unix://{tmp_path}/nobody.sock")
    url = town.origin.url("/a.png")

    with structlog.testing.capture_logs() as logs:
        town.scan(worker, entry("a", url=url))
        found = town.scan(worker, entry("b", url=url))

    assert {outcome.verdict for outcome in found.values()} == {Verdict.LIKELY_AI}
    assert town.conditions() == [None, None]
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings == ["cache_unavailable"]


def test_scans_are_done_as_well_when_there_is_no_room_for_a_cache(
    town: Town, entry: Make, picture: Draw
) -> None:
    with running() as full:
        with redis.Redis.from_url(full.url) as client:
            client.config_set("maxmemory", "1")
        town.serve(response(picture(255)))
        worker = town.worker(cache_url=full.url)

        found = town.scan(worker, entry("a", url=town.origin.url("/a.png")))

        assert found["a"].verdict is Verdict.LIKELY_AI

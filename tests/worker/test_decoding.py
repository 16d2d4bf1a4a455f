"""worker/decoding.py: real processes, real signals; tests/worker/decode_faults.py misbehaves."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sdk.codes import ScanErrorCode
from tests.worker import corpus
from worker import decoding, images
from worker.decoding import DecodePool
from worker.ports import Decoded, Refusal

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "vectors" / "images.json").read_text())["cases"]
FAULTS = [case for case in CASES if case["id"].startswith("fault-")]
BLANK = b"\xff\xff\xff"


def faulty_pool(**options: Any) -> DecodePool:
    options = {"processes": 1, "wall_seconds": 30.0} | options
    return DecodePool(target="tests.worker.decode_faults:decode", **options)


@pytest.fixture(scope="module")
def faulty() -> Iterator[DecodePool]:
    with faulty_pool() as pool:
        yield pool


def facts(pool: DecodePool) -> dict[str, Any]:
    """What the child that takes the next image says of itself."""
    with pytest.raises(Refusal) as refused:
        pool.decode(b"tells")
    return dict(json.loads(refused.value.detail))


def refusal(pool: DecodePool, data: bytes) -> Refusal:
    with pytest.raises(Refusal) as refused:
        pool.decode(data)
    return refused.value


def is_alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Wait until a process that is no child of ours has ended."""
    handle = os.pidfd_open(pid) if is_alive(pid) else None
    if handle is None:
        return True
    ended, _, _ = select.select([handle], [], [], 30)
    os.close(handle)
    return bool(ended)


# --- the answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jpeg_grey", "png_animated", "webp_still", "jpeg_orientation_6"])
def test_pool_gives_what_the_decoder_gives(faulty: DecodePool, name: str) -> None:
    data = corpus.build(name)

    assert faulty.decode(data) == images.decode(data)


@pytest.mark.parametrize("name", ["empty", "svg", "png_1_by_1", "png_20000_square", "jpeg_cut"])
def test_pool_passes_a_refusal_on(faulty: DecodePool, name: str) -> None:
    data = corpus.build(name)

    with pytest.raises(Refusal) as expected:
        images.decode(data)

    refused = refusal(faulty, data)

    assert (refused.code, refused.detail) == (expected.value.code, expected.value.detail)


def test_pool_takes_as_much_as_the_decoder_gives() -> None:
    assert decoding.PIXEL_LIMIT == images.PIXEL_LIMIT
    assert decoding.FRAME_LIMIT == images.FRAME_SAMPLES


def test_pool_carries_40_megapixels() -> None:
    data = corpus.saved(corpus.picture("L", (8_000, 5_000)), "JPEG")

    with DecodePool(processes=1, wall_seconds=60.0) as pool:
        decoded = pool.decode(data)

    assert len(decoded.frames[0].rgb) == 120_000_000


# --- misbehaviour -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case["id"])
def test_pool_names_the_fault_and_goes_on(case: dict[str, str]) -> None:
    word = case["id"].removeprefix("fault-").encode()

    limits = {"wall_seconds": 0.5 if word == b"sleeps" else 30.0, "memory_bytes": 256 << 20}
    with faulty_pool(**limits) as pool:
        refused = refusal(pool, word)
        after = pool.decode(corpus.build("png_rgb"))

    assert (refused.code, refused.detail.split(":")[0]) == (case["code"], case["reason"])
    assert after.width == corpus.WIDTH


def test_pool_names_the_signal_that_ended_a_decoder(faulty: DecodePool) -> None:
    assert "SIGSEGV" in refusal(faulty, b"segfaults").detail


def test_pool_calls_an_unforeseen_exception_a_crash(faulty: DecodePool) -> None:
    assert refusal(faulty, b"raises").detail == "crash: the decoder died (status 1)"


def test_pool_refuses_an_image_that_needs_more_memory_than_a_child_has() -> None:
    data = corpus.saved(corpus.picture("L", (6_000, 6_000)), "JPEG")

    with DecodePool(processes=1, wall_seconds=60.0, memory_bytes=128 << 20) as pool:
        refused = refusal(pool, data)
        after = pool.decode(corpus.build("png_rgb"))

    assert refused.detail.startswith("memory:")
    assert after.width == corpus.WIDTH


def test_pool_times_out_however_short_the_limit() -> None:
    with faulty_pool(wall_seconds=1e-9) as pool:
        assert refusal(pool, corpus.build("png_rgb")).detail.startswith("timeout:")


@pytest.mark.parametrize(
    "word", [b"claims_too_many_pixels", b"claims_another_mime", b"blames_another"]
)
def test_pool_does_not_believe_a_child(faulty: DecodePool, word: bytes) -> None:
    refused = refusal(faulty, word)

    assert refused.code == ScanErrorCode.DECODE_FAILED
    assert refused.detail == "crash: the decoder's answer made no sense"


def test_pool_drops_a_child_that_says_more_than_asked(faulty: DecodePool) -> None:
    faulty.decode(b"says_too_much")

    assert faulty.decode(corpus.build("png_rgb")).width == corpus.WIDTH


@pytest.mark.parametrize("poison", ["sleeps", "allocates", "segfaults", "jpeg_65_scans"])
def test_pool_answers_20_good_images_round_a_poisoned_one(poison: str) -> None:
    good = corpus.build("jpeg_grey")
    data = corpus.BUILDERS[poison]() if poison in corpus.BUILDERS else poison.encode()
    batch = [good] * 10 + [data] + [good] * 10

    def answer(pool: DecodePool, data: bytes) -> Decoded | Refusal:
        try:
            return pool.decode(data)
        except Refusal as refused:
            return refused

    limits = {"processes": 2, "wall_seconds": 3.0, "memory_bytes": 256 << 20}
    with faulty_pool(**limits) as pool, ThreadPoolExecutor(21) as threads:
        answers = list(threads.map(lambda one: answer(pool, one), batch))

    assert sum(isinstance(one, Decoded) for one in answers) == 20
    assert isinstance(answers[10], Refusal)


class Interrupted(Exception):
    pass


def test_pool_gives_no_image_the_answer_of_an_interrupted_one(
    faulty: DecodePool, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    path = tmp_path / "go"
    signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            faulty.decode(f"interrupts_and_waits {os.getpid()} {path}".encode())
    finally:
        # Not the default, which ends this process: a signal may still be on its way. Nor ignored,
        # which later children would inherit.
        signal.signal(signal.SIGUSR1, lambda *_: None)
    path.touch()

    assert faulty.decode(corpus.build("png_rgb")).width == corpus.WIDTH


# --- children ---------------------------------------------------------------------------------


def test_child_is_confined() -> None:
    with faulty_pool(memory_bytes=512 << 20) as pool:
        told = facts(pool)

    assert told["memory"] == [512 << 20] * 2
    assert told["files"] == [16, 16]
    assert told["core"] == [0, 0]
    assert told["no_new_privs"] == "1"


def test_child_has_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINCLIP_CANARY", "secret")

    with faulty_pool() as pool:
        told = facts(pool)

    assert told["environment"] == "GLIBC_TUNABLES=glibc.malloc.hugetlb=1\0HOME=/\0"


def test_child_has_one_socket_and_no_file_of_the_parent(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "records").open("w") as file,
        faulty_pool(processes=2) as pool,
    ):
        os.set_inheritable(server.fileno(), True)
        os.set_inheritable(file.fileno(), True)
        opened = facts(pool)["open"]

    assert [name for name in opened if name != "/dev/null"] == [
        name for name in opened if name.startswith("socket:")
    ]
    assert len([name for name in opened if name.startswith("socket:")]) == 1


def test_child_is_replaced_after_its_share_of_images() -> None:
    with faulty_pool(retire_after=2) as pool:
        pids = [facts(pool)["pid"] for _ in range(4)]

    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_child_is_replaced_after_a_failed_decode(faulty: DecodePool) -> None:
    before = facts(faulty)["pid"]

    refusal(faulty, corpus.build("jpeg_cut"))

    assert facts(faulty)["pid"] != before


def test_child_is_kept_after_any_other_refusal(faulty: DecodePool) -> None:
    before = facts(faulty)["pid"]

    refusal(faulty, corpus.build("svg"))

    assert facts(faulty)["pid"] == before


def test_child_killed_while_idle_costs_no_image(faulty: DecodePool) -> None:
    pid = facts(faulty)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)

    assert faulty.decode(corpus.build("png_rgb")).width == corpus.WIDTH


def test_nursery_killed_while_idle_costs_no_image() -> None:
    with faulty_pool() as pool:
        told = facts(pool)
        os.kill(told["nursery"], signal.SIGKILL)
        assert gone(told["pid"])

        assert pool.decode(corpus.build("png_rgb")).width == corpus.WIDTH


def test_nursery_killed_during_a_decode_costs_no_image(tmp_path: Path) -> None:
    with faulty_pool() as pool:
        decoded = pool.decode(f"kills_nursery_once {tmp_path / 'once'}".encode())

    assert decoded.frames[0].rgb == BLANK


def test_child_in_a_decode_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\n"
        "from worker.decoding import DecodePool\n"
        "pool = DecodePool(wall_seconds=60.0, target='tests.worker.decode_faults:decode')\n"
        "pool.decode(b'writes_pid_and_sleeps ' + sys.argv[1].encode())\n"
    )
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    parent = subprocess.Popen([sys.executable, script, pipe], cwd=ROOT)
    child = int(pipe.read_text())

    parent.kill()
    parent.wait()

    assert gone(child)


def test_pool_ignores_signals_meant_for_the_worker(faulty: DecodePool) -> None:
    told = facts(faulty)
    for pid in (told["pid"], told["nursery"]):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)

    assert facts(faulty)["pid"] == told["pid"]


# --- the parent -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["script", "module"])
def test_pool_does_not_import_main_again(tmp_path: Path, how: str) -> None:
    """No `if __name__ == "__main__"` here: a second import would decode, and count, again."""
    (tmp_path / "unguarded.py").write_text(
        "from pathlib import Path\n"
        "from tests.worker import corpus\n"
        "from worker.decoding import DecodePool\n"
        "with open('runs', 'a') as runs:\n"
        "    runs.write('x')\n"
        "with DecodePool() as pool:\n"
        "    print(pool.decode(corpus.build('png_rgb')).width)\n"
    )
    command = ["-m", "unguarded"] if how == "module" else ["unguarded.py"]

    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{corpus.WIDTH}\n"
    assert (tmp_path / "runs").read_text() == "x"


def test_pool_starts_with_the_first_image() -> None:
    pool = faulty_pool()
    try:
        assert pool.decode(corpus.build("png_rgb")).width == corpus.WIDTH
    finally:
        pool.close()


def test_pool_says_why_its_target_cannot_be_loaded() -> None:
    pool = DecodePool(target="worker.no_such_module:decode")

    with pytest.raises(OSError, match=r"ModuleNotFoundError.*no_such_module"):
        pool.start()

    pool.close()


def test_pool_refuses_work_once_closed() -> None:
    pool = faulty_pool()
    told = facts(pool)

    pool.close()

    with pytest.raises(RuntimeError, match="closed"):
        pool.decode(corpus.build("png_rgb"))
    assert gone(told["pid"])
    assert gone(told["nursery"])

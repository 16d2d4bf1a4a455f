"""The supervisor with real processes: small Python programs that write down what happens to them.

Each test's `diary` is a file that the children append to, a line an event.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from worker.supervisor import (
    LAST_LINES,
    LINE_LIMIT_BYTES,
    Child,
    ChildFailed,
    Console,
    Limits,
    give_up,
    in_a_row,
    pause,
    supervise,
    tethered,
)

HASTE = Limits(first_pause_seconds=0.01, longest_pause_seconds=0.02)
DEADLINE_SECONDS = 20.0

PRELUDE = """
import os, signal, subprocess, sys, threading
name, diary = sys.argv[1:3]
def write(what):
    with open(diary, "a") as file:
        file.write(f"{name} {what}\\n")
def end(number, frame):
    write("stops")
    sys.exit()
def live():
    threading.Event().wait(60)
signal.signal(signal.SIGTERM, end)
write("starts")
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    path = tmp_path / "diary"
    path.touch()
    return path


@pytest.fixture
def orphans() -> Iterator[list[int]]:
    """Process ids that a test's failure could leave running; killed at the end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def child(name: str, diary: Path, program: str = "live()", **options: object) -> Child:
    argv = (sys.executable, "-c", PRELUDE + program, name, str(diary))
    return Child(name=name, argv=argv, **options)  # type: ignore[arg-type]


def run(
    children: Sequence[Child],
    when_started: Callable[[], Awaitable[None]] | None = None,
    limits: Limits = HASTE,
) -> str:
    """Supervise until the end, at most DEADLINE_SECONDS; returns what was on the console."""
    stream = io.StringIO()
    console = Console(stream, names=["up", *(one.name for one in children)])

    async def supervised() -> None:
        with anyio.fail_after(DEADLINE_SECONDS):
            await supervise(children, console=console, limits=limits, when_started=when_started)

    anyio.run(supervised)
    return stream.getvalue()


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():  # noqa: ASYNC110 - what other processes do sets no event here
        await anyio.sleep(0.01)


def lines(diary: Path) -> list[str]:
    return diary.read_text().splitlines()


def wrote(diary: Path, line: str, times: int = 1) -> Callable[[], bool]:
    return lambda: lines(diary).count(line) >= times


def stop(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pid_in(diary: Path, name: str) -> int:
    return int(next(line for line in lines(diary) if line.startswith(f"{name} pid ")).split()[-1])


def test_supervise_starts_each_child_once_the_one_before_is_ready(diary: Path) -> None:
    async def is_ready() -> bool:
        return wrote(diary, "first is ready")()

    async def when_started() -> None:
        await until(wrote(diary, "second starts"))
        stop()

    slow = "threading.Event().wait(0.2); write('is ready'); live()"
    run([child("first", diary, slow, ready=is_ready), child("second", diary)], when_started)

    assert lines(diary)[:3] == ["first starts", "first is ready", "second starts"]


def test_supervise_starts_a_child_again_when_it_dies(diary: Path) -> None:
    async def when_started() -> None:
        await until(wrote(diary, "one starts", times=3))
        stop()

    once = "sys.exit(7) if open(diary).read().count('starts') < 3 else live()"
    console = run([child("one", diary, once)], when_started)

    assert console.count("one died (exit status 7)") == 2


def test_supervise_starts_a_child_again_when_it_is_killed(diary: Path) -> None:
    async def when_started() -> None:
        await until(lambda: any("pid" in line for line in lines(diary)))
        os.kill(pid_in(diary, "one"), signal.SIGKILL)
        await until(wrote(diary, "one starts", times=2))
        stop()

    console = run([child("one", diary, "write(f'pid {os.getpid()}'); live()")], when_started)

    assert "one died (killed by SIGKILL)" in console


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_supervise_drains_the_last_child_first(diary: Path, number: signal.Signals) -> None:
    async def when_started() -> None:
        await until(lambda: len(lines(diary)) == 3)
        stop(number)

    run([child(name, diary) for name in ("first", "second", "third")], when_started)

    assert lines(diary)[3:] == ["third stops", "second stops", "first stops"]


def test_supervise_waits_for_a_child_before_it_stops_the_one_below(diary: Path) -> None:
    async def when_started() -> None:
        await until(wrote(diary, "top is set"))
        await until(wrote(diary, "bottom starts"))
        stop()

    slow = """
def late(number, frame):
    threading.Event().wait(0.3)
    end(number, frame)
signal.signal(signal.SIGTERM, late)
write("is set")
live()
"""
    run([child("bottom", diary), child("top", diary, slow)], when_started)

    assert lines(diary)[-2:] == ["top stops", "bottom stops"]


def test_supervise_kills_a_child_when_its_grace_is_over(diary: Path) -> None:
    async def when_started() -> None:
        await until(wrote(diary, "deaf is deaf"))
        stop()

    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); write('is deaf'); live()"
    console = run([child("deaf", diary, deaf, grace_seconds=0.1)], when_started)

    assert "deaf did not stop in time and is killed" in console


def test_supervise_kills_all_at_once_when_ctrl_c_comes_twice(diary: Path) -> None:
    async def when_started() -> None:
        await until(lambda: len(lines(diary)) == 4)
        stop(signal.SIGINT)
        await anyio.sleep(0.1)
        stop(signal.SIGINT)

    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); write('is deaf'); live()"
    children = [child(name, diary, deaf, grace_seconds=60) for name in ("first", "second")]
    console = run(children, when_started)

    assert "did not stop in time" not in console


def test_supervise_gives_up_by_name_when_a_child_keeps_dying(diary: Path) -> None:
    children = [
        child("steady", diary),
        child("broken", diary, "print('no model here'); sys.exit(9)"),
    ]

    with pytest.raises(ChildFailed, match="broken died 5 times in 60 s") as caught:
        run(children)

    assert caught.value.name == "broken"
    assert caught.value.lines == ("no model here",)
    assert lines(diary).count("broken starts") == 5
    assert lines(diary)[-1] == "steady stops"


def test_supervise_does_not_start_a_child_again_when_its_settings_are_wrong(diary: Path) -> None:
    with pytest.raises(ChildFailed) as caught:
        run([child("wrong", diary, "sys.exit(3)")])

    assert caught.value.status == 3
    assert lines(diary) == ["wrong starts"]


def test_supervise_stops_everything_when_a_child_is_never_ready(diary: Path) -> None:
    async def never() -> bool:
        return False

    children = [child("first", diary, ready=never, ready_seconds=0.5), child("second", diary)]

    with pytest.raises(ChildFailed, match=r"first was not ready after 0\.5 s"):
        run(children)

    assert "second starts" not in lines(diary)


def test_supervise_starts_nothing_more_when_the_signal_comes_early(diary: Path) -> None:
    async def stop_instead() -> bool:
        stop()
        return False

    run([child("first", diary, ready=stop_instead), child("second", diary)])

    assert "second starts" not in lines(diary)


def test_supervise_kills_what_a_dead_child_left_behind(diary: Path, orphans: list[int]) -> None:
    async def when_started() -> None:
        await until(lambda: any("grandchild pid" in line for line in lines(diary)))
        orphans.append(pid_in(diary, "one grandchild"))
        await until(lambda: not is_alive(orphans[0]))
        stop()

    parent = """
if "grandchild" not in open(diary).read():
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    name = "one grandchild"
    write(f"pid {left.pid}")
    os._exit(1)
live()
"""
    run([child("one", diary, parent)], when_started)

    assert not is_alive(orphans[0])


DRIVER = """
import sys, anyio
from worker.supervisor import Child, Console, supervise
program, diary = sys.argv[1:]
children = [
    Child(name=name, argv=(sys.executable, "-c", program, name, diary))
    for name in ("first", "second")
]
anyio.run(lambda: supervise(children, console=Console(sys.stderr, names=[])))
"""


def test_supervise_leaves_no_orphan_when_it_is_killed(diary: Path, orphans: list[int]) -> None:
    program = PRELUDE + "write(f'pid {os.getpid()}'); live()"
    supervisor = subprocess.Popen([sys.executable, "-c", DRIVER, program, str(diary)])

    async def both_gone() -> None:
        await until(lambda: len(lines(diary)) == 4)
        orphans.extend(pid_in(diary, name) for name in ("first", "second"))
        supervisor.kill()
        await until(lambda: not any(map(is_alive, orphans)))

    with supervisor:
        anyio.run(with_deadline, both_gone)

    assert "stops" not in diary.read_text()


async def with_deadline(what: Callable[[], Awaitable[None]]) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        await what()


def test_tethered_runs_nothing_when_the_supervisor_has_died_already() -> None:
    argv = tethered([sys.executable, "-c", "print('it ran')"])
    argv[argv.index(str(os.getpid()))] = "0"

    ended = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert ended.stdout == ""
    assert ended.returncode == 1


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Children heed SIGINT, as those of a terminal do: what runs pytest may ignore it (nohup)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_tethered_leaves_no_signal_ignored() -> None:
    argv = tethered(["grep", "^SigIgn", "/proc/self/status"])

    ended = subprocess.run(argv, capture_output=True, text=True, check=True)

    # 32 and 33 belong to the C library, which lets nobody change them.
    ours = sum(1 << (number - 1) for number in signal.valid_signals())
    assert int(ended.stdout.split()[1], 16) & ours == 0


def test_tethered_says_what_cannot_be_run() -> None:
    ended = subprocess.run(
        tethered(["/no/such/program"]), capture_output=True, text=True, check=False
    )

    assert ended.stderr == "/no/such/program cannot be run: No such file or directory\n"


def test_supervise_refuses_to_run_beside_the_main_thread() -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            anyio.run(lambda: supervise([], console=Console(io.StringIO(), names=[])))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert "main thread" in str(caught[0])


def test_supervise_passes_on_each_line_with_the_childs_name(diary: Path) -> None:
    async def when_started() -> None:
        await until(wrote(diary, "one is done"))
        stop()

    talk = """
print("to stdout", flush=True)
print("to stderr", file=sys.stderr)
os.write(1, b"not text \\xff and no end")
write("is done")
live()
"""
    console = run([child("one", diary, talk)], when_started).splitlines()

    assert console[:2] == ["one | to stdout", "one | to stderr"]
    assert "one | not text \ufffd and no end" in console


def test_supervise_breaks_up_a_line_that_never_ends(diary: Path) -> None:
    async def when_started() -> None:
        await until(wrote(diary, "one is done"))
        stop()

    endless = f"os.write(1, b'x' * {3 * LINE_LIMIT_BYTES}); write('is done'); live()"
    console = run([child("one", diary, endless)], when_started).splitlines()

    assert max(map(len, console)) == LINE_LIMIT_BYTES + len("one | ")


def test_supervise_shows_what_a_quiet_child_said_when_it_dies(diary: Path) -> None:
    async def when_started() -> None:
        await until(wrote(diary, "one starts", times=2))
        await anyio.sleep(0.1)
        stop()

    talk = """
first = open(diary).read().count("starts") == 1
print("the first life" if first else "the second life", flush=True)
sys.exit(1) if first else live()
"""
    console = run([child("one", diary, talk, is_quiet=True)], when_started)

    assert "one | the first life" in console
    assert "the second life" not in console


def test_supervise_lets_a_child_be_mended_between_two_lives(diary: Path) -> None:
    seen: list[list[str]] = []

    def mend(last: Sequence[str]) -> str:
        seen.append(list(last))
        diary.write_text("mended\n")
        return "put right"

    async def when_started() -> None:
        await until(wrote(diary, "one starts"))
        await until(wrote(diary, "one lives"))
        stop()

    sick = """
if "mended" not in open(diary).read():
    print(*range(30), sep="\\n")
    sys.exit(1)
write("lives")
live()
"""
    console = run([child("one", diary, sick, mend=mend)], when_started)

    assert "up  | put right" in console
    assert seen == [[str(n) for n in range(30 - LAST_LINES, 30)]]


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        pytest.param(1, 0.5, id="first"),
        pytest.param(2, 1.0, id="doubled"),
        pytest.param(6, 16.0, id="sixth"),
        pytest.param(7, 30.0, id="longest"),
        pytest.param(100_000, 30.0, id="no-overflow"),
    ],
)
def test_pause_doubles_up_to_the_longest(row: int, seconds: float) -> None:
    assert pause(row, limits=Limits()) == seconds


@pytest.mark.parametrize(
    ("row", "lived_seconds", "expected"),
    [
        pytest.param(0, 0.1, 1, id="first"),
        pytest.param(3, 4.9, 4, id="short-lives-add-up"),
        pytest.param(3, 5.0, 1, id="a-settled-life-ends-the-row"),
    ],
)
def test_in_a_row_counts_short_lives_only(row: int, lived_seconds: float, expected: int) -> None:
    assert in_a_row(row, lived_seconds=lived_seconds, limits=Limits()) == expected


@pytest.mark.parametrize(
    ("deaths", "status", "is_hopeless"),
    [
        pytest.param([0, 1, 2, 3], 1, False, id="four"),
        pytest.param([0, 1, 2, 3, 4], 1, True, id="five"),
        pytest.param([0, 15, 30, 45, 60], 1, True, id="five-within-the-minute"),
        pytest.param([0, 15, 30, 45, 60.1], 1, False, id="five-in-more-than-a-minute"),
        pytest.param([0], 3, True, id="wrong-settings"),
    ],
)
def test_give_up_counts_the_deaths_of_the_last_minute(
    deaths: list[float], status: int, is_hopeless: bool
) -> None:
    assert (give_up(deaths, status=status, limits=Limits()) is not None) is is_hopeless


def test_console_keeps_the_live_line_below_the_others_on_a_terminal() -> None:
    terminal = Terminal()
    console = Console(terminal, names=["up", "api"])

    console.progress("up", "loading", seconds=1)
    console.line("api", "hello")
    console.end_progress()

    assert terminal.getvalue() == (
        "\r\x1b[K\x1b[36mup  | \x1b[0mloading 1.0 s"
        "\r\x1b[K\x1b[35mapi | \x1b[0mhello\n\x1b[36mup  | \x1b[0mloading 1.0 s"
        "\r\x1b[K"
    )


def test_console_says_what_goes_on_once_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    console = Console(stream, names=["up", "api"])

    for seconds in (1, 2, 3):
        console.progress("up", "loading", seconds=seconds)
    console.line("api", "hello")
    console.end_progress()

    assert stream.getvalue() == "up  | loading\napi | hello\n"


def test_console_goes_on_when_the_terminal_is_gone() -> None:
    console = Console(Gone(), names=["up"])

    console.line("up", "nobody reads this")

"""FRONT DESK: keeps a few child processes alive until told to stop. Knows nothing of what they do.

    spawn -> ready? -> (next child) ... alive ... dies -> back-off -> spawn
                                        |               5 deaths in 60 s -> stop everything
    Ctrl-C, TERM, HUP -> drain: last child first, each gets its signal, its grace, then KILL
    second Ctrl-C     -> KILL all at once
    kill -9 of us     -> the kernel kills each child (PR_SET_PDEATHSIG); none is orphaned

Each child leads a session of its own, so the terminal's Ctrl-C reaches only us and the order of
the drain holds; whatever a child leaves behind in that session is killed with it. Children are
spawned on the main thread, because the death signal follows the thread that spawned and not the
process (golang #27505, bubblewrap #692). Linux only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import cycle
from signal import Signals
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TextIO

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from msgspec import Struct

LAST_LINES = 20
"""Lines of a child that are kept to be shown when it dies."""
LAST_WORDS_SECONDS = 1.0
"""Longest wait for the rest of what a dead child printed."""
LINE_LIMIT_BYTES = 16 * 1024
"""Longest line passed on; a longer one is broken up, so that no child can fill our memory."""
COLOURS = (36, 35, 32, 34, 33)
"""Of the children's names on a terminal: cyan, magenta, green, blue, yellow."""
PROBE_SECONDS = 0.05
"""Time between two asks of a ready probe."""
SETTINGS_STATUS = 3
"""Exit status of a child whose settings cannot work: starting it again would not help."""


class Child(Struct, frozen=True, kw_only=True):
    """One process to keep alive."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    """Its whole environment; None means ours."""
    ready: Callable[[], Awaitable[bool]] | None = None
    """Asked until it says True, then the next child starts; None means ready once spawned."""
    ready_seconds: float = 60.0
    """Longest wait for `ready` at the start."""
    stop_signal: Signals = signal.SIGTERM
    grace_seconds: float = 10.0
    """Time between the stop signal and SIGKILL."""
    is_quiet: bool = False
    """Show what it prints only when it dies."""
    mend: Callable[[Sequence[str]], str | None] | None = None
    """Given the last lines of a death, may repair what caused it and return a sentence."""


class Limits(Struct, frozen=True, kw_only=True):
    """How patient we are with a child that dies."""

    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    """The pause doubles with each death in a row, up to this."""
    settled_seconds: float = 5.0
    """A life as long as this ends a row: what worked for a while is worth a start at once."""
    deaths: int = 5
    window_seconds: float = 60.0
    """So many deaths within this time are too many."""


PATIENCE = Limits()


class ChildFailed(Exception):
    """A child (`name`) could not be kept alive, so all were stopped.

    `lines` are its last; `status` is what it ended with, None if it never became ready.
    """

    def __init__(
        self, name: str, what: str, *, lines: Sequence[str], status: int | None = None
    ) -> None:
        shown = "".join(f"\n    {line}" for line in lines) or " nothing"
        super().__init__(f"{name} {what}, so everything was stopped. It last printed:{shown}")
        self.name = name
        self.status = status
        self.lines = tuple(lines)


class Console:
    """Writes what children print to a text stream, each line whole and with its child's name.

    On a terminal the names have colours and one live line at the bottom shows progress; elsewhere
    there are only plain lines.
    """

    def __init__(self, stream: TextIO, *, names: Sequence[str]) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._width = max(map(len, names), default=0)
        self._colours = dict(zip(names, cycle(COLOURS), strict=False))
        self._live = ""
        self._told = ""

    def line(self, name: str, text: str) -> None:
        """The line is on the stream, above the live line."""
        self._write(f"{self._prefix(name)}{text}\n")

    def progress(self, name: str, text: str, *, seconds: float) -> None:
        """The live line says what is going on and for how long; a plain line says it once."""
        if self._is_terminal:
            self._live = f"{self._prefix(name)}{text} {seconds:.1f} s"
            self._write("")
        elif text != self._told:
            self._told = text
            self.line(name, text)

    def end_progress(self) -> None:
        """There is no live line."""
        self._live = ""
        self._write("")

    def _prefix(self, name: str) -> str:
        padded = f"{name:<{self._width}} | "
        if not self._is_terminal:
            return padded
        return f"\x1b[{self._colours.get(name, 0)}m{padded}\x1b[0m"

    def _write(self, text: str) -> None:
        if self._is_terminal:
            text = f"\r\x1b[K{text}{self._live}"
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            return  # The terminal is gone; the children are not, and they still need us.


async def supervise(
    children: Sequence[Child],
    *,
    console: Console,
    limits: Limits = PATIENCE,
    when_started: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """All children have run in order until a signal came, and are gone.

    `when_started` runs beside them once the last is ready. Must be called on the main thread.
    Raises ChildFailed if a child kept dying or never became ready.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "supervise() ran outside the main thread: its children would die with it"
        )
    await _Supervisor(children, console, limits).run(when_started)


class _Supervisor:
    """The children's keepers, and the one decision to stop them."""

    def __init__(self, children: Sequence[Child], console: Console, limits: Limits) -> None:
        self._console = console
        self._stop = anyio.Event()
        self._failure: ChildFailed | None = None
        self._keepers = [_Keeper(child, console, limits, self._fail) for child in children]

    async def run(self, when_started: Callable[[], Awaitable[None]] | None) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey_signals)
                tasks.start_soon(self._start, tasks, when_started)
                await self._stop.wait()
                await self._drain()
                tasks.cancel_scope.cancel()
        finally:
            self._kill()
        if self._failure is not None:
            raise self._failure

    async def _obey_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if not self._stop.is_set():
                    self._console.line("up", "stopping; Ctrl-C again kills at once")
                    self._stop.set()
                elif number == signal.SIGINT:
                    self._kill()

    async def _start(
        self, tasks: TaskGroup, when_started: Callable[[], Awaitable[None]] | None
    ) -> None:
        for keeper in self._keepers:
            tasks.start_soon(keeper.keep)
            await keeper.until_ready()
        if when_started is not None:
            await when_started()

    def _fail(self, failure: ChildFailed) -> None:
        self._failure = self._failure or failure
        self._stop.set()

    async def _drain(self) -> None:
        self._console.end_progress()
        for keeper in reversed(self._keepers):
            await keeper.stop()

    def _kill(self) -> None:
        for keeper in self._keepers:
            keeper.kill()


class _Keeper:
    """One child: spawns it, passes on what it prints, spawns it again."""

    def __init__(
        self, child: Child, console: Console, limits: Limits, fail: Callable[[ChildFailed], None]
    ) -> None:
        self.child = child
        self._console = console
        self._limits = limits
        self._fail = fail
        self._process: Process | None = None
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._deaths: deque[float] = deque(maxlen=limits.deaths)
        self._row = 0
        self._stopping = anyio.Event()
        self._gone: anyio.Event | None = None

    async def keep(self) -> None:
        """Run the child again and again, until stopped or hopeless."""
        self._gone = anyio.Event()
        try:
            while not self._stopping.is_set():
                began = anyio.current_time()
                status = await self._live_once()
                if not self._stopping.is_set():
                    await self._after_death(status, began=began)
        finally:
            self._gone.set()

    async def until_ready(self) -> None:
        """Return once the probe says so, or once the start is over for another reason."""
        if self.child.ready is None:
            return
        began = anyio.current_time()
        with anyio.move_on_after(self.child.ready_seconds):
            while not self._stopping.is_set():
                if await self.child.ready():
                    took = anyio.current_time() - began
                    self._console.line("up", f"{self.child.name} ready {took:.1f} s")
                    return
                await anyio.sleep(PROBE_SECONDS)
        if not self._stopping.is_set():
            what = f"was not ready after {self.child.ready_seconds:g} s"
            self._fail(ChildFailed(self.child.name, what, lines=self._lines))

    async def stop(self) -> None:
        """The child has had its signal and its grace, and is gone."""
        self._stopping.set()
        if self._gone is None:
            return
        self._signal(self.child.stop_signal)
        with anyio.move_on_after(self.child.grace_seconds):
            await self._gone.wait()
            return
        self._console.line("up", f"{self.child.name} did not stop in time and is killed")
        self.kill()
        await self._gone.wait()

    def kill(self) -> None:
        """SIGKILL the child and all that it started, now."""
        if self._process is not None:
            _kill_group(self._process.pid)

    async def _live_once(self) -> int:
        """Spawn the child and return its status once it and all that it started are gone."""
        self._lines.clear()
        process = await anyio.open_process(
            tethered(self.child.argv),
            env=self.child.env,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        self._process = process
        if self._stopping.is_set():  # stop() came while the child was being spawned.
            self._signal(self.child.stop_signal)
        assert process.stdout is not None  # noqa: S101 - we asked for a pipe
        async with process, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_on, process.stdout)
            status = await process.wait()
            _kill_group(process.pid)  # Else a grandchild could hold the pipe, a port or a file.
            tasks.cancel_scope.deadline = anyio.current_time() + LAST_WORDS_SECONDS
            self._process = None
        return status

    async def _pass_on(self, stream: ByteReceiveStream) -> None:
        async for line in _lines(stream):
            self._lines.append(line)
            if not self.child.is_quiet:
                self._console.line(self.child.name, line)

    async def _after_death(self, status: int, *, began: float) -> None:
        """Say how it died; then give up, or wait as long as its last deaths make advisable."""
        now = anyio.current_time()
        self._deaths.append(now)
        self._row = in_a_row(self._row, lived_seconds=now - began, limits=self._limits)
        self._report(status)
        reason = give_up(self._deaths, status=status, limits=self._limits)
        if reason:
            self._stopping.set()
            failure = ChildFailed(self.child.name, reason, lines=self._lines, status=status)
            self._fail(failure)
            return
        seconds = pause(self._row, limits=self._limits)
        self._console.line("up", f"{self.child.name} starts again in {seconds:g} s")
        with anyio.move_on_after(seconds):
            await self._stopping.wait()

    def _report(self, status: int) -> None:
        if self.child.is_quiet:
            for line in self._lines:
                self._console.line(self.child.name, line)
        self._console.line("up", f"{self.child.name} died ({describe(status)})")
        mended = self.child.mend(self._lines) if self.child.mend else None
        if mended:
            self._console.line("up", mended)

    def _signal(self, number: Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def tethered(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` under the same process id and dies when this process does.

    A few milliseconds of a bare interpreter: it asks the kernel for the signal, looks whether we
    are still there (we may have died before it asked), and becomes `argv`. Done in the child's
    own process and not in a `preexec_fn`, which is unsafe beside threads.
    """
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *argv]


_TETHER = """
import ctypes, os, signal, sys
if ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0):
    sys.exit("prctl(PR_SET_PDEATHSIG): " + os.strerror(ctypes.get_errno()))
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that.
    signal.signal(number, signal.SIG_DFL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the supervisor is gone")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]} cannot be run: {error.strerror}")
"""


def give_up(deaths: Sequence[float], *, status: int, limits: Limits) -> str | None:
    """Say why another start would be no use, or None. `deaths` are times in seconds."""
    if status == SETTINGS_STATUS:
        return "cannot run with these settings"
    recent = [at for at in deaths if deaths[-1] - at <= limits.window_seconds]
    if len(recent) < limits.deaths:
        return None
    return f"died {len(recent)} times in {limits.window_seconds:g} s (at last: {describe(status)})"


def in_a_row(row: int, *, lived_seconds: float, limits: Limits) -> int:
    """Deaths in a row, this one included, after `row` of them and a life of so many seconds."""
    return 1 if lived_seconds >= limits.settled_seconds else row + 1


def pause(row: int, *, limits: Limits) -> float:
    """Seconds to wait after the last of `row` deaths in a row."""
    doubled = limits.first_pause_seconds * 2.0 ** min(row - 1, 30)
    return min(doubled, limits.longest_pause_seconds)


def describe(status: int) -> str:
    """An exit status in words; below zero it is a signal."""
    return f"exit status {status}" if status >= 0 else f"killed by {Signals(-status).name}"


async def _lines(stream: ByteReceiveStream) -> AsyncIterator[str]:
    """Yield the stream's lines, decoded, without their ends and none longer than the limit."""
    rest = b""
    async for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        while len(rest) > LINE_LIMIT_BYTES:
            whole.append(rest[:LINE_LIMIT_BYTES])
            rest = rest[LINE_LIMIT_BYTES:]
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


def _kill_group(leader: int) -> None:
    """SIGKILL every process in the session that `leader` began; none may be left."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return

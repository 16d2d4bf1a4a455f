"""A pool of decode processes that can be killed: ports.Decoder, whatever the bytes do.

    decode(data) -> slot -> child (decode_child.py): bytes ->  <- reply, pixels
                              | no answer in time   SIGKILL    decode_failed, timeout
                              | out of memory       its limit  decode_failed, memory
                              | died or babbles     SIGKILL    decode_failed, crash
                              v
                     replaced by a fork of the nursery (a few ms), also after any failed decode
                     and after `retire_after` images

Children are not trusted: what they send is JSON with bounded pixels, checked here, never pickle.
Knows nothing of image formats.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from queue import LifoQueue
from threading import Lock
from time import monotonic

import msgspec

from sdk.codes import ScanErrorCode

from .decode_child import ANSWER, FORK, IMAGE_HEAD, ORDER, READY, REAP, REPLY_HEAD, Reply
from .ports import Decoded, Frame, Refusal

PIXEL_LIMIT = 40_000_000
"""Most pixels a reply may hold: as in images.py, which this process must not import."""
FRAME_LIMIT = 4
"""Most frames of a reply: as in images.py."""
REPLY_LIMIT = 4096
"""Bytes of a reply before its pixels."""
START_SECONDS = 30.0
"""Longest wait for the nursery to import the decoder, on a cold disk."""
NURSERY_SECONDS = 5.0
"""Longest wait for the nursery to fork or to reap; it does nothing else."""
_CODES = (
    ScanErrorCode.NOT_AN_IMAGE,
    ScanErrorCode.FORMAT_UNSUPPORTED,
    ScanErrorCode.DECODE_FAILED,
    ScanErrorCode.IMAGE_TOO_SMALL,
    ScanErrorCode.IMAGE_TOO_LARGE,
)
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "HOME": "/"}
"""All of it. Huge pages halve the time of 12 megapixels, which is mostly page faults. HOME, because
a user without a name, as in some containers, has none, and contract.py asks for it."""
_SIGNALS = {number.value: number.name for number in signal.Signals}
_LAUNCH = (
    "import json, sys; fd, path, target, memory = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from worker.decode_child import nurse; nurse(fd, target, memory)"
)


class DecodePool:
    """Decodes in `processes` children, each image within `wall_seconds` and `memory_bytes`.

    `target` is what a child runs, as module:function, (bytes) -> Decoded or Refusal. Starts
    with the first image, or with start(). Thread-safe; used as a context manager it closes.
    """

    def __init__(
        self,
        *,
        processes: int = 2,
        wall_seconds: float = 5.0,
        memory_bytes: int = 1 << 30,
        retire_after: int = 500,
        target: str = "worker.images:decode",
    ) -> None:
        self._wall_seconds = wall_seconds
        self._memory_bytes = memory_bytes
        self._retire_after = retire_after
        self._target = target
        self._lock = Lock()
        self._nursery: _Nursery | None = None
        self._is_closed = False
        self._slots = [_Slot() for _ in range(processes)]
        self._idle: LifoQueue[_Slot] = LifoQueue()
        for slot in self._slots:
            self._idle.put(slot)

    def __enter__(self) -> DecodePool:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes now, so that the first images need not wait for them."""
        taken = []
        try:
            while not self._idle.empty():
                taken.append(self._idle.get())
                self._ready(taken[-1])
        finally:
            for slot in taken:
                self._idle.put(slot)

    def decode(self, data: bytes) -> Decoded:
        """Return the frames, or raise Refusal; waits for a free child, then `wall_seconds`.

        Raises OSError where processes cannot be started, RuntimeError once closed.
        """
        slot = self._idle.get()
        try:
            for _ in range(2):
                if (decoded := self._try(slot, data)) is not None:
                    return decoded
            raise OSError("the decode processes were killed twice: see the kernel's log")
        finally:
            self._idle.put(slot)

    def close(self) -> None:
        """End the processes, after the images in them; waits for these, not for queued ones."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for slot in [self._idle.get() for _ in self._slots]:
            self._end(slot)
            self._idle.put(slot)
        if self._nursery:
            self._nursery.close()

    def _try(self, slot: _Slot, data: bytes) -> Decoded | None:
        """Decode in the slot's child; None if the nursery died, which says nothing of the image."""
        child = self._ready(slot)
        try:
            return child.decode(data, monotonic() + self._wall_seconds)
        except TimeoutError:
            self._end(slot)
            raise _failed(f"timeout: not decoded within {self._wall_seconds:g} s") from None
        except msgspec.DecodeError:
            self._end(slot)
            raise _failed("crash: the decoder's answer made no sense") from None
        except (EOFError, OSError):
            if (how := self._end(slot)) is None:
                return None
            raise _failed(f"crash: the decoder died ({how})") from None

    def _ready(self, slot: _Slot) -> _Child:
        """Return the slot's child, a new one if there is none fit for another image."""
        if self._is_closed:
            raise RuntimeError("the decode pool is closed: make a new one")
        child = slot.child
        if child and (child.images >= self._retire_after or not child.is_fit()):
            self._end(slot)
        slot.child = slot.child or self._fork()
        return slot.child

    def _fork(self) -> _Child:
        with self._lock:
            if self._nursery:
                try:
                    return self._nursery.fork()
                except (EOFError, OSError):  # it was killed, or cannot fork: make another
                    self._nursery.close()
            self._nursery = _Nursery(self._target, self._memory_bytes)
            return self._nursery.fork()

    def _end(self, slot: _Slot) -> str | None:
        """Kill the slot's child and say how it ended; None if its nursery is no more."""
        child, slot.child = slot.child, None
        if child is None:
            return None
        child.close()
        with self._lock:
            return child.nursery.reap(child.pid)


class _Slot:
    """One place in the pool: a child, or none until it is needed."""

    child: _Child | None = None


class _Nursery:
    """Our end of the process that forks children. Used under the pool's lock."""

    def __init__(self, target: str, memory_bytes: int) -> None:
        self._control, theirs = socket.socketpair()
        path = [os.path.abspath(entry) for entry in sys.path]
        arguments = json.dumps([theirs.fileno(), path, target, memory_bytes])
        with theirs:
            # -I: no PYTHON* variables, no user site; and no other file of ours.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-I", "-c", _LAUNCH, arguments],
                pass_fds=(theirs.fileno(),),
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._await(target)

    def _await(self, target: str) -> None:
        self._control.settimeout(START_SECONDS)
        try:
            said = self._control.recv(1_024)
        except OSError as error:
            said = str(error).encode()
        if said != READY:
            self.close()
            why = said.decode(errors="replace") or "it died at once"
            raise OSError(f"the decoder {target} cannot be started: {why}")
        self._control.settimeout(NURSERY_SECONDS)

    def fork(self) -> _Child:
        """Return a new child; raises EOFError or OSError where none can be had."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [ORDER.pack(FORK, 0)], [theirs.fileno()])
            pid = self._answer()
            if pid < 0:
                raise OSError(-pid, f"no decode process could be forked: {os.strerror(-pid)}")
        except BaseException:
            ours.close()
            raise
        return _Child(self, pid, ours)

    def reap(self, pid: int) -> str | None:
        """Kill a child and return how it ended: its own signal or status if it was first."""
        try:
            self._control.sendall(ORDER.pack(REAP, pid))
            status = os.waitstatus_to_exitcode(self._answer())
        except (OSError, EOFError):
            self.close()
            return None
        return _SIGNALS.get(-status, f"status {status}")

    def close(self) -> None:
        """Kill the nursery, and by that its children."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _answer(self) -> int:
        said = self._control.recv(ANSWER.size)
        if len(said) < ANSWER.size:
            raise EOFError
        return int(ANSWER.unpack(said)[0])


class _Child:
    """Our end of one decode process."""

    def __init__(self, nursery: _Nursery, pid: int, link: socket.socket) -> None:
        self.nursery = nursery
        self.pid = pid
        self.images = 0
        self._link = link
        self._is_spent = False

    def is_fit(self) -> bool:
        """True if it has answered all and failed at nothing, lives, and says nothing unasked."""
        if self._is_spent:
            return False
        try:
            self._link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def decode(self, data: bytes, deadline: float) -> Decoded:
        """Return its answer; raises Refusal, TimeoutError, EOFError, or DecodeError for babble.

        Whatever else ends this early, an interrupt say, leaves the child unfit: its next answer
        would be to this image.
        """
        self.images += 1
        self._is_spent = True
        self._send(data, deadline)
        reply = self._reply(deadline)
        if reply.code is not None:
            self._is_spent = reply.code == ScanErrorCode.DECODE_FAILED  # it may be damaged
            raise Refusal(reply.code, reply.detail)
        frames = [
            Frame(width=width, height=height, rgb=self._receive(3 * width * height, deadline))
            for width, height in reply.sides
        ]
        self._is_spent = False
        return Decoded(
            mime=reply.mime,
            width=reply.width,
            height=reply.height,
            frame_count=reply.frame_count,
            frames=tuple(frames),
            jpeg_quality=reply.jpeg_quality,
        )

    def close(self) -> None:
        self._link.close()

    def _send(self, data: bytes, deadline: float) -> None:
        self._link.settimeout(max(0.001, deadline - monotonic()))
        self._link.sendall(IMAGE_HEAD.pack(len(data)))
        self._link.sendall(data)
        self._link.settimeout(None)

    def _reply(self, deadline: float) -> Reply:
        (length,) = REPLY_HEAD.unpack(self._receive(REPLY_HEAD.size, deadline))
        if length > REPLY_LIMIT:
            raise msgspec.DecodeError("the reply is too long")
        reply = _decoder.decode(self._receive(length, deadline))
        if not (_is_refusal(reply) or _is_image(reply)):
            raise msgspec.DecodeError("no image is answered like this")
        return reply

    def _receive(self, size: int, deadline: float) -> bytes:
        """Return exactly `size` bytes, in one system call and without a copy if it can be."""
        parts: list[bytes] = []
        while size:
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError
            timeout = struct.pack("@ll", int(left), min(999_999, int(left % 1 * 1e6) + 1))
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            try:
                part = self._link.recv(size, socket.MSG_WAITALL)
            except BlockingIOError:
                raise TimeoutError from None
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


_decoder = msgspec.json.Decoder(Reply)


def _is_refusal(reply: Reply) -> bool:
    return reply.code in _CODES


def _is_image(reply: Reply) -> bool:
    """True if an image may be like this; the pixels that follow are bounded then."""
    return (
        reply.code is None
        and reply.mime != ""
        and 1 <= len(reply.sides) <= min(FRAME_LIMIT, reply.frame_count)
        and (reply.width, reply.height) == reply.sides[0]
        and all(width and height for width, height in reply.sides)
        and sum(width * height for width, height in reply.sides) <= PIXEL_LIMIT
    )


def _failed(reason: str) -> Refusal:
    return Refusal(ScanErrorCode.DECODE_FAILED, reason)

"""What the decode processes run: a nursery that forks when asked, and the children it forks.

    worker process              nursery: imports the decoder once        child: confined
    decoding.py   --FORK, fd--> fork ---------------------------------> bytes in, reply out
                  --REAP, pid-> kill, wait -> how it ended
                  closed -----> exit ------------ the kernel sends SIGKILL ----^

    image  = length (8 bytes), bytes
    reply  = length (4 bytes), Reply as JSON, then the pixels of its frames one after another

The nursery never sees an image and a child never sees another process: it has one socket, no
environment, no privileges to gain, and limits on memory and files. Not multiprocessing's
forkserver: that one imports the parent's __main__ again in every child, speaks pickle, and lets
a child that hangs outlive its parent. Nothing heavy is imported here but through `target`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sdk.codes import ScanErrorCode

from .ports import Decoded, Refusal

Decode = Callable[[bytes], Decoded]

FORK, REAP = b"F", b"R"
ORDER = struct.Struct("!ci")
"""FORK with a socket attached and 0, or REAP and a pid."""
ANSWER = struct.Struct("!i")
"""The pid of the new child (or -errno), or the wait status of the reaped one."""
READY = b"+"
"""First byte from a nursery that can fork; anything else is the text of its error."""
IMAGE_HEAD = struct.Struct("!Q")
REPLY_HEAD = struct.Struct("!I")

FILE_LIMIT = 16
"""Open files of a child: it needs the standard three and its socket."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


Side = Annotated[int, Meta(ge=0, le=16_384)]


class Reply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Decoded without its pixels, or the code and detail of a Refusal."""

    code: ScanErrorCode | None = None
    detail: Annotated[str, Meta(max_length=1_000)] = ""
    mime: Annotated[str, Meta(pattern="^(image/[a-z]{3,5})?$")] = ""
    width: Side = 0
    height: Side = 0
    frame_count: Annotated[int, Meta(ge=0, le=2**32)] = 0
    sides: Annotated[tuple[tuple[Side, Side], ...], Meta(max_length=8)] = ()
    jpeg_quality: Annotated[int, Meta(ge=1, le=100)] | None = None


def nurse(control_fd: int, target: str, memory_bytes: int) -> None:
    """Fork children that run `target` (module:function) until the other end is closed.

    Signals meant for the worker are ignored: it drains, and this process ends with it.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    try:
        module, _, function = target.partition(":")
        decode: Decode = getattr(import_module(module), function)
    except Exception as error:
        control.sendall(f"{type(error).__name__}: {error}"[:1000].encode())
        return
    gc.freeze()
    control.sendall(READY)
    while _obey(control, decode, memory_bytes):
        pass


def _obey(control: socket.socket, decode: Decode, memory_bytes: int) -> bool:
    """Carry out one order; False when there will be no more."""
    message, fds, _, _ = socket.recv_fds(control, ORDER.size, 1)
    if len(message) < ORDER.size:
        return False
    order, pid = ORDER.unpack(message)
    if order == REAP:
        os.kill(pid, signal.SIGKILL)
        control.sendall(ANSWER.pack(os.waitpid(pid, 0)[1]))
        return True
    nursery = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid == 0:
        _live(control, fds[0], nursery, decode, memory_bytes)
    os.close(fds[0])
    control.sendall(ANSWER.pack(pid))
    return True


def _live(control: socket.socket, fd: int, nursery: int, decode: Decode, memory: int) -> None:
    """Be a child until the socket is closed, then exit without a trace of the nursery's state."""
    status = 1
    try:
        control.close()
        _confine(memory, nursery)
        _serve(socket.socket(fileno=fd), decode)
        status = 0
    finally:
        os._exit(status)


def _confine(memory_bytes: int, nursery: int) -> None:
    """Give up what a decoder does not need; die when the nursery does."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
            if prctl(option, int(value), 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != nursery:
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILE_LIMIT, FILE_LIMIT))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _serve(link: socket.socket, decode: Decode) -> None:
    while head := link.recv(IMAGE_HEAD.size, socket.MSG_WAITALL):
        (length,) = IMAGE_HEAD.unpack(head)
        data = link.recv(length, socket.MSG_WAITALL) if length else b""
        if len(data) < length:
            return
        reply, pixels = _answer(decode, data)
        text = msgspec.json.encode(reply)
        link.sendall(REPLY_HEAD.pack(len(text)) + text)
        for rgb in pixels:
            link.sendall(rgb)


def _answer(decode: Decode, data: bytes) -> tuple[Reply, list[bytes]]:
    """Return the reply to one image. Whatever else `decode` raises ends the child: a crash."""
    try:
        decoded = decode(data)
    except Refusal as refusal:
        return Reply(code=refusal.code, detail=refusal.detail), []
    except MemoryError:
        detail = "memory: it needs more memory to decode than one image may use"
        return Reply(code=ScanErrorCode.DECODE_FAILED, detail=detail), []
    reply = Reply(
        mime=decoded.mime,
        width=decoded.width,
        height=decoded.height,
        frame_count=decoded.frame_count,
        sides=tuple((frame.width, frame.height) for frame in decoded.frames),
        jpeg_quality=decoded.jpeg_quality,
    )
    return reply, [frame.rgb for frame in decoded.frames]

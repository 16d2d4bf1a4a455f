"""Decoders that misbehave when the bytes say so: the targets of the pool's tests.

b"<word> <argument>"   does what the word says; any other bytes are decoded as an image
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import threading
from pathlib import Path

from sdk.codes import ScanErrorCode
from worker import images
from worker.ports import Decoded, Frame, Refusal


def decode(data: bytes) -> Decoded:
    word, _, argument = data[:1_000].partition(b" ")
    fault = FAULTS.get(word)
    return fault(argument.decode()) if fault else images.decode(data)


def sleeps(_: str) -> Decoded:
    threading.Event().wait()
    raise AssertionError


def allocates(_: str) -> Decoded:
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))


def segfaults(_: str) -> Decoded:
    ctypes.string_at(0)
    raise AssertionError


def raises(_: str) -> Decoded:
    raise ValueError("not a refusal")


def writes_pid_and_sleeps(path: str) -> Decoded:
    Path(path).write_text(str(os.getpid()))
    return sleeps("")


def kills_nursery_once(path: str) -> Decoded:
    if Path(path).exists():
        return blank()
    Path(path).touch()
    os.kill(os.getppid(), signal.SIGKILL)
    return sleeps("")


def interrupts_and_waits(argument: str) -> Decoded:
    """Send SIGUSR1 to a process, then answer when a file is there."""
    pid, _, path = argument.partition(" ")
    os.kill(int(pid), signal.SIGUSR1)
    while not Path(path).exists():
        threading.Event().wait(0.01)
    return blank()


def tells(_: str) -> Decoded:
    """Refuse, with what this process is and may as the detail."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    facts = {
        "pid": os.getpid(),
        "nursery": os.getppid(),
        "no_new_privs": status["NoNewPrivs"],
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "environment": Path("/proc/self/environ").read_text(),
        "open": sorted(
            os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]
        ),
    }
    raise Refusal(ScanErrorCode.NOT_AN_IMAGE, json.dumps(facts))


def claims_too_many_pixels(_: str) -> Decoded:
    frame = Frame(width=16_384, height=16_384, rgb=b"")
    return Decoded(mime="image/png", width=16_384, height=16_384, frame_count=1, frames=(frame,))


def claims_another_mime(_: str) -> Decoded:
    frame = Frame(width=1, height=1, rgb=b"\0\0\0")
    return Decoded(mime="text/html", width=1, height=1, frame_count=1, frames=(frame,))


def says_too_much(_: str) -> Decoded:
    frame = Frame(width=1, height=1, rgb=b"\0\0\0" + b'\0\0\0\x02{"')
    return Decoded(mime="image/png", width=1, height=1, frame_count=1, frames=(frame,))


def blames_another(_: str) -> Decoded:
    raise Refusal(ScanErrorCode.FETCH_DNS, "not for a decoder to say")


def blank() -> Decoded:
    frame = Frame(width=1, height=1, rgb=b"\xff\xff\xff")
    return Decoded(mime="image/png", width=1, height=1, frame_count=1, frames=(frame,))


FAULTS = {
    fault.__name__.encode(): fault
    for fault in (
        sleeps,
        allocates,
        segfaults,
        raises,
        writes_pid_and_sleeps,
        kills_nursery_once,
        interrupts_and_waits,
        tells,
        claims_too_many_pixels,
        claims_another_mime,
        says_too_much,
        blames_another,
    )
}

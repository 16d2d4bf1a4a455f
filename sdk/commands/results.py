"""The file that `pinclip batch` writes: a line a row, and what makes it safe to go on with.

    {"id", "input", "scan": {...}}                        the row is answered, and not asked again
    {"id", "input", "line", "error": {code, message, hint}}     it is asked again by the next run

Opening it mends it: a last line that was cut off is dropped, and so are errors, since their rows
are asked again. It is replaced whole, so that a crash leaves the old file or the new one. One run
holds it at a time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from sdk.errors import InputError

from .words import encoded

NOTHING = msgspec.Raw()
HEAD = b'{"id":"'
"""How each line begins, also one that was cut off."""


class Line(Struct, frozen=True):
    """What is read of a line that stands in OUT."""

    id: str
    input: str
    scan: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class Results:
    """OUT, open and held; `answered` has the input of each id that has a verdict."""

    def __init__(self, path: Path) -> None:
        """Open OUT and mend it. Raises InputError if it is not ours or is in use; OSError."""
        self.answered: dict[str, str] = {}
        # Where a link leads to, since that is what a mended file takes the place of.
        self._path = Path(os.path.realpath(path))
        _need_file(path)
        self._file = _held(path.open("a+b"), path)
        try:
            self._mend()
        except BaseException:
            self._file.close()
            raise

    def add(self, row_id: str, source: str, result: dict[str, Any]) -> None:
        """Write what came of a row, so that it stands though this process is killed."""
        line = encoded({"id": row_id, "input": source, **result})
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of OUT."""
        self._file.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _mend(self) -> None:
        if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            raise _in_use(self._path)  # another run has replaced it since we opened it
        answers = (line for line in self._lines() if self._is_answer(line))
        kept = [line.removesuffix(b"\n") + b"\n" for line in answers]
        size = sum(map(len, kept))
        if size == os.fstat(self._file.fileno()).st_size:
            return
        beside = self._path.with_name(f".{self._path.name}.mending")
        mended = _held(beside.open("w+b"), beside)
        mended.writelines(kept)
        mended.flush()
        shutil.copymode(self._path, beside)
        os.fsync(mended.fileno())
        beside.replace(self._path)
        self._file.close()
        self._file = mended

    def _lines(self) -> list[bytes]:
        self._file.seek(0)
        return [line for line in self._file if not self._is_torn(line)]

    def _is_torn(self, text: bytes) -> bool:
        """Tell whether a line is a beginning of ours, cut off; a foreign file ends in none."""
        if text.endswith(b"\n") or not text.startswith(HEAD[: len(text)]):
            return False
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return True
        return False

    def _is_answer(self, text: bytes) -> bool:
        try:
            line = msgspec.json.decode(text, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            line = None
        if line is None or bool(line.scan) == bool(line.error):
            raise InputError(
                f"{self._path} has a line that is not of `pinclip batch`.",
                hint="Name another OUT: this one is left as it is.",
            )
        if line.scan:
            self.answered[line.id] = line.input
        return bool(line.scan)


def _held(file: BinaryIO, path: Path) -> BinaryIO:
    """Return the file, which no other run of this command may use until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise _in_use(path) from None
    return file


def _in_use(path: Path) -> InputError:
    return InputError(f"Another run is writing {path}.", hint="Wait for it, or name another OUT.")


def _need_file(path: Path) -> None:
    """Raise InputError for a device, a pipe or a folder; what is not there yet can be made."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is not a file.", hint="Name a file as OUT, such as out.jsonl.")

"""A program at both ends of a bot's pipes: writes items, reads orders, keeps what is in force."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class FakeProgram:
    """`bot_stdin` and `bot_stdout` are the bot's ends; images are files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bot_stdin, self._write_end = os.pipe()
        self._read_end, self.bot_stdout = os.pipe()
        os.set_blocking(self._read_end, False)
        self.said: list[dict[str, Any]] = []
        """Every line that the bot wrote, as it was written."""
        self._files = 0
        self._posts: dict[str, int] = {}

    def post(self, images: Sequence[bytes], *, is_exempt: bool = False) -> str:
        item_id = f"item-{len(self._posts) + 1}"
        self._write(item_id, images, exempt=is_exempt)
        return item_id

    def edit(self, item_id: str, images: Sequence[bytes]) -> None:
        self._write(item_id, images)

    def write_line(self, line: bytes) -> None:
        os.write(self._write_end, line + b"\n")

    def end(self) -> None:
        """Write no more, as at the end of a file."""
        os.close(self._write_end)
        self._write_end = -1

    def stop_reading(self) -> None:
        self.read()
        os.close(self._read_end)

    def read_again(self) -> None:
        """Come back to the same pipe, as a shell does that starts both ends anew."""
        self._read_end, write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.dup2(write_end, self.bot_stdout)
        os.close(write_end)

    def read(self) -> list[dict[str, Any]]:
        """Return all that was written until now, line by line."""
        data = b""
        while chunk := self._read_some():
            data += chunk
        self.said += [json.loads(line) for line in data.splitlines()]
        return self.said

    def in_force(self, item_id: str) -> list[str]:
        """Return what a reader has done that obeys each type and key once."""
        done: dict[str, str] = {}
        obeyed: set[tuple[str, str]] = set()
        for order in self.read():
            name = (order["type"], order["key"])
            if order["item"] != item_id or name in obeyed:
                continue
            obeyed.add(name)
            if order["type"] == "action":
                done[order["key"]] = order["kind"]
            elif order["type"] == "undo":
                done.pop(order["key"], None)
        return list(done.values())

    def notices(self, item_id: str) -> list[str]:
        return [
            f"{order['text']} {order.get('appeal_url', '')}"
            for order in self.read()
            if order["type"] == "notice" and order["item"] == item_id
        ]

    def close(self) -> None:
        for end in (self.bot_stdin, self._write_end, self._read_end, self.bot_stdout):
            if end >= 0:
                os.close(end)

    def _write(self, item_id: str, images: Sequence[bytes], **more: Any) -> None:
        revision = self._posts[item_id] = self._posts.get(item_id, 0) + 1
        names = [self._file(image) for image in images]
        line = {"id": item_id, "revision": str(revision), "images": names, **more}
        self.write_line(json.dumps(line).encode())

    def _file(self, image: bytes) -> str:
        self._files += 1
        path = self._folder / f"{self._files}.png"
        path.write_bytes(image)
        return str(path)

    def _read_some(self) -> bytes:
        try:
            return os.read(self._read_end, 65536)
        except BlockingIOError:
            return b""

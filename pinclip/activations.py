"""Pictures -> what the frozen part of the tower makes of them, computed once and kept.

    bytes -> decode -> equalise -> augment (view 1...; view 0 is the picture) -> prepare
                 |                                                    Pictures, in threads
                 v
    frozen blocks -> Prefix -> WORK/activations-KEY/view-V/{classes,tokens,done}.npy    float16
                 |                                            KEY: all that decides a number
                 v
    Kept: indices, epoch -> Prefix        Drawn: the same from pictures, where nothing is frozen

A view is a pure function of (seed, file, view). Each image is marked when it is on the disk, so a
run that was broken off goes on, and several processes fill one store. Knows of no label.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from .augment import augment
from .checkpoint import refusal
from .data.sets import decode
from .distributed import World
from .equalise import equalise
from .model import PinClip, Prefix
from .preprocess import Preprocessing, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .data.manifest import Row
    from .recipe import Recipe

    _Store = np.memmap[Any, np.dtype[Any]]

BATCH = 16
"""Images that the frozen part sees at once."""
LIMIT = 6e4
"""Largest size of a number that is kept: float16 ends at 65504."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the tower is shown: a row and the number of a view -> (3, S, S) float32."""

    read: Callable[[Row], bytes]
    how: Recipe
    preprocessing: Preprocessing

    def __call__(self, row: Row, view: int) -> NDArray[np.float32]:
        """Return a view of an image; 0 is not augmented. Raises data.sets.UnreadableError."""
        image = decode(self.read(row))
        image = equalise(image, self.how.equalise, self._random(row, "equalise"))
        if view:
            image = augment(image, self.how.augment, self._random(row, f"view {view}"))
        return prepare(np.asarray(image), self.preprocessing)

    def _random(self, row: Row, purpose: str) -> np.random.Generator:
        key = hashlib.sha256(f"{self.how.seed}\n{row.file}\n{purpose}".encode()).digest()
        return np.random.default_rng(int.from_bytes(key[:16]))


class View(NamedTuple):
    """One view of every image: class tokens (N, n, W) and, or None, tokens (N, T, W)."""

    classes: Tensor
    tokens: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Activations in memory or on disk. Epoch e sees view e mod V; None asks for view 0."""

    views: tuple[View, ...]
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    def __call__(self, indices: Tensor, *, epoch: int | None) -> Prefix:
        """(B,) -> the float32 activations of B images on the device."""
        view = self.views[0 if epoch is None else epoch % len(self.views)]
        tokens = None if view.tokens is None else self._take(view.tokens, indices)
        return Prefix(tokens=tokens, classes=self._take(view.classes, indices))

    def _take(self, stored: Tensor, indices: Tensor) -> Tensor:
        return stored.index_select(0, indices.to(stored.device)).to(self.device).float()


class Drawn:
    """Images read anew for each step: nothing is frozen. Epoch e sees view e + 1, None view 0."""

    def __init__(
        self, pictures: Pictures, rows: Sequence[Row], *, device: torch.device, threads: int
    ) -> None:
        self._pictures, self._rows, self._device = pictures, rows, device
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, indices: Tensor, *, epoch: int | None) -> Tensor:
        """(B,) -> (B, 3, S, S)."""
        view = 0 if epoch is None or not self._pictures.how.augment.is_on else epoch + 1
        rows = [self._rows[index] for index in indices.tolist()]
        batch = np.stack(list(self._pool.map(self._pictures, rows, [view] * len(rows))))
        return torch.from_numpy(batch).to(self._device)


def store_key(base: str, parts: Sequence[object], pictures: Pictures, rows: Sequence[Row]) -> str:
    """Return the name of activations: a digest of all that decides a number of them.

    `base` names the tower's tensors, `parts` which of its outputs are kept.
    """
    how = pictures.how
    files = [(row.file, row.sha256_of_original) for row in rows]
    drawn = how.seed if how.equalise.is_on or how.augment.is_on else None
    augmented = msgspec.structs.replace(how.augment, views=1)  # a view is stored by itself
    deciding = [base, parts, pictures.preprocessing, how.equalise, augmented, drawn, files]
    return hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).hexdigest()[:16]


def keep(
    model: PinClip,
    pictures: Pictures,
    rows: Sequence[Row],
    *,
    folder: Path,
    view: int,
    world: World,
) -> View:
    """Return one view of every row, computing and keeping in `folder` what is not there yet.

    Class tokens alone are held in memory, tokens stay on the disk. Raises CheckpointError disk_full
    before anything is computed.
    """
    with torch.no_grad():
        image = np.zeros((1, 3, *[pictures.preprocessing.size] * 2), np.float32)
        shapes = _shapes(model.prefix(torch.from_numpy(image).to(world.device)), len(rows))
    if world.is_first and not (folder / "done.npy").exists():
        _create(folder, shapes)
    world.wait()
    stored = {name: _open(folder / f"{name}.npy") for name in shapes}
    done = stored.pop("done")
    todo = np.flatnonzero(done == 0)
    todo = todo[todo % world.size == world.rank]  # by number: others are marking theirs already
    for indices, images in _batches(pictures, rows, view, todo):
        _put(stored, indices, model.prefix(torch.from_numpy(images).to(world.device)))
        done[indices] = 1
        done.flush()
    world.wait()
    # Copied on write: torch wants memory that it may write to.
    found = {name: torch.from_numpy(_open(folder / f"{name}.npy", mode="c")) for name in stored}
    if "tokens" in found:
        return View(**found)
    return View(classes=found["classes"].clone().to(world.device))


def threads() -> int:
    """Return how many threads read pictures: Pillow works outside the interpreter's lock."""
    return max(1, len(os.sched_getaffinity(0)))


def _shapes(prefix: Prefix, count: int) -> dict[str, tuple[int, ...]]:
    parts = {"classes": prefix.classes, "tokens": prefix.tokens}
    shapes = {k: (count, *part.shape[1:]) for k, part in parts.items() if part is not None}
    return {**shapes, "done": (count,)}


def _create(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make the files at their full size; `done` is last, so that it stands for all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in shapes.items():
        path, kind = folder / f"{name}.npy", np.uint8 if name == "done" else np.float16
        part, size = path.with_suffix(".part"), math.prod(shape) * np.dtype(kind).itemsize
        try:
            np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape).flush()
            # A sparse file would end the process by a signal when the disk is full.
            with part.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise refusal(path, size, error) from error
        part.replace(path)


def _open(path: Path, mode: str = "r+") -> _Store:
    array: _Store = np.lib.format.open_memmap(path, mode=mode)
    return array


def _put(stored: dict[str, _Store], indices: NDArray[np.int64], made: Prefix) -> None:
    for name in ("classes", "tokens"):
        if name in stored:
            values = getattr(made, name).float().clamp(-LIMIT, LIMIT)
            stored[name][indices] = values.cpu().numpy()
            stored[name].flush()


def _batches(
    pictures: Pictures, rows: Sequence[Row], view: int, todo: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield indices and images; the next batch is read while one is used."""
    parts = [todo[i : i + BATCH] for i in range(0, len(todo), BATCH)]
    with ThreadPoolExecutor(threads()) as pool:
        waiting = [pool.submit(pictures, rows[i], view) for i in parts[0]] if parts else []
        for number, part in enumerate(tqdm(parts, desc=f"view {view}", unit="batch", disable=None)):
            ready = waiting
            following = parts[number + 1] if number + 1 < len(parts) else ()
            waiting = [pool.submit(pictures, rows[i], view) for i in following]
            yield part, np.stack([each.result() for each in ready])

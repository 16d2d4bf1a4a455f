"""Images that occur twice: the same bytes, or nearly the same picture (method 2.9).

    bytes  -> sha256          equal: the same image
    pixels -> pHash, 64 bits  at most DISTANCE bits apart: near-duplicates
    features, if given        cosine above COSINE: near-duplicates

A set whose splits or folds share pictures is refused. All pairs are compared, block by block:
10^5 hashes are 5 * 10^9 distances, half a minute of one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import imagehash
import numpy as np

from .errors import DataError, UnreadableError, first
from .sets import ImageSet, decode, readable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from .manifest import Row

DISTANCE = 6
"""Bits of a pHash in which near-duplicates may differ."""
COSINE = 0.97
"""Cosine of CLIP features above which two images are near-duplicates."""
FLAT = 2.0
"""Standard deviation of grey, at 32 x 32, below which a pHash says nothing of a picture."""
_BLOCK = 64


class Pair(NamedTuple):
    """Two images of different splits or folds that are one picture."""

    one: str
    other: str
    why: str


class Fingerprint(NamedTuple):
    """What an image is compared by; `phash` is None where it is flat or does not decode."""

    sha256: str
    phash: np.uint64 | None
    fault: str = ""
    """Why the image cannot be had, "" where it can."""


def phash(image: Image.Image) -> np.uint64:
    """Return the 64-bit perceptual hash of a picture, as imagehash makes it."""
    bits = imagehash.phash(image).hash.ravel()
    return np.packbits(bits).view(">u8")[0].astype(np.uint64)  # type: ignore[no-any-return]


def distances(one: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(N,), (M,) hashes -> (N, M) bits in which they differ."""
    bits: NDArray[np.uint8] = np.bitwise_count(one[:, None] ^ others[None, :])
    return bits


def fingerprints(images: ImageSet) -> list[Fingerprint]:
    """Return what every image is compared by; decodes each once, in threads."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda row: _fingerprint(images, row), images.rows))


def readable_prints(
    images: ImageSet, *, limit: float
) -> tuple[ImageSet, list[str], list[Fingerprint]]:
    """Return what sets.readable does, and the fingerprint of each image that is left.

    One pass: each image is decoded once for both. Raises DataError as `readable`.
    """
    prints = fingerprints(images)
    kept, unreadable = readable(images, limit=limit, faults=[one.fault for one in prints])
    return kept, unreadable, [one for one in prints if not one.fault]


def near_duplicates(
    images: ImageSet,
    *,
    features: NDArray[np.float32] | None = None,
    prints: Sequence[Fingerprint] | None = None,
) -> list[Pair]:
    """Return the pairs of near-duplicates that lie in different splits or folds.

    `features` (N, d), a row an image: pairs that only these find are added. `prints` spares the
    decoding where fingerprints are at hand. Images that do not decode are compared by their bytes.
    """
    prints = fingerprints(images) if prints is None else prints
    finds = [_same_bytes(prints), _close_hashes(prints)]
    if features is not None:
        finds.append(_close_features(features))
    pairs: dict[tuple[int, int], str] = {}
    for find in finds:
        for one, other, why in find:
            if _are_apart(images.rows[one], images.rows[other]):
                pairs.setdefault((one, other), why)
    return [
        Pair(images.rows[one].file, images.rows[other].file, why)
        for (one, other), why in sorted(pairs.items())
    ]


def check_splits(
    images: ImageSet,
    *,
    features: NDArray[np.float32] | None = None,
    prints: Sequence[Fingerprint] | None = None,
) -> None:
    """Raise DataError if the set's splits or folds share a picture, or its classes an image.

    `features` and `prints` as for near_duplicates. Codes: contradictory_labels,
    near_duplicates_across_splits.
    """
    prints = fingerprints(images) if prints is None else prints
    for one, other, _ in _same_bytes(prints):
        rows = images.rows[one], images.rows[other]
        if rows[0].label != rows[1].label:
            raise DataError(
                "contradictory_labels",
                f"{rows[0].file} is {rows[0].label} and {rows[1].file} is {rows[1].label}, but "
                "their bytes are the same: remove the one that is wrong.",
            )
    pairs = near_duplicates(images, features=features, prints=prints)
    if pairs:
        shown = first((f"{one} = {other} ({why})" for one, other, why in pairs), separator="; ")
        raise DataError(
            "near_duplicates_across_splits",
            f"{images.name} has {len(pairs)} pairs of near-duplicates in different splits or "
            f"folds, so what is held out is not unseen: {shown}. Put both into one group of a "
            "manifest.csv, or remove one; `pinclip data pack` removes them.",
        )


def _fingerprint(images: ImageSet, row: Row) -> Fingerprint:
    try:
        data = images.read(row)
    except UnreadableError as error:
        return Fingerprint("", None, error.detail)
    digest = hashlib.sha256(data).hexdigest()
    try:
        picture = decode(data)
    except UnreadableError as error:
        return Fingerprint(digest, None, error.detail)
    grey = np.asarray(picture.convert("L").resize((32, 32)), np.float32)
    return Fingerprint(digest, phash(picture) if grey.std() >= FLAT else None)


def _same_bytes(prints: Iterable[Fingerprint]) -> Iterator[tuple[int, int, str]]:
    seen: dict[str, list[int]] = {}
    for index, one in enumerate(prints):
        twins = seen.setdefault(one.sha256 or f"missing {index}", [])
        yield from ((twin, index, "same bytes") for twin in twins)
        twins.append(index)


def _close_hashes(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, str]]:
    known = [(index, one.phash) for index, one in enumerate(prints) if one.phash is not None]
    places = [index for index, _ in known]
    hashes = np.array([value for _, value in known], np.uint64)
    for start in range(0, len(hashes), _BLOCK):
        apart = distances(hashes[start : start + _BLOCK], hashes[start:])
        for one, other in _above_diagonal(apart <= DISTANCE):
            pair = places[start + one], places[start + other]
            yield (*pair, f"pHash {apart[one, other]} bits apart")


def _close_features(features: NDArray[np.float32]) -> Iterator[tuple[int, int, str]]:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for start in range(0, len(unit), _BLOCK):
        cosine = unit[start : start + _BLOCK] @ unit[start:].T
        for one, other in _above_diagonal(cosine > COSINE):
            yield start + one, start + other, f"cosine {cosine[one, other]:.3f}"


def _above_diagonal(block: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield where a block of a symmetric matrix, from its diagonal on, is true."""
    for one, other in np.argwhere(block).tolist():
        if other > one:
            yield one, other


def _are_apart(one: Row, other: Row) -> bool:
    return one.split != other.split or one.fold != other.fold

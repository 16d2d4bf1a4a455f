"""What each tool says of each image: one column of scores a tool, on the same rows.

    RUN/scores.csv    out-of-fold logits of a training run   --from_run-->      Tool
    NAME=FILE.csv     file, score of any other tool          --from_csv-->      Tool
    weights           a detector scores the images here      --from_weights-->  Tool
                                                     common --> what all of them scored

A higher score means more likely AI. Scores that all lie in [0, 1] are probabilities (decision at
0.5), others logits (decision at 0). Nothing is known here of how good a score is.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from pinclip import detector as detectors
from pinclip.data.errors import UnreadableError
from pinclip.data.manifest import Row, digest
from pinclip.data.sets import decode
from pinclip.preprocess import to_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from pinclip.data.sets import ImageSet

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Seen = Literal["held out", "trained on", "not known"]
"""Whether the images had a part in making the tool that scored them."""
Scorer = Callable[[Sequence["Image.Image"], Sequence[Row]], "Floats"]
"""RGB pictures and their rows -> one logit each. Rows say which fold must not have seen them."""
EDGE = 1e-6
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""
BATCH = 32


class EvidenceError(Exception):
    """Scores that cannot be used; the text says which, and what is expected."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool and its score of each row (N,), NaN where it has none.

    `cut`: the score from which it says AI. `origin`: where the scores come from, for people.
    """

    name: str
    score: Floats
    kind: Literal["logit", "probability"]
    cut: float
    origin: str
    seen: Seen

    @property
    def logit(self) -> Floats:
        """The scores on the logit scale."""
        if self.kind == "logit":
            return self.score
        logits: Floats = special.logit(np.clip(self.score, EDGE, 1 - EDGE))
        return logits

    def where(self, chosen: Flags) -> Tool:
        """Return the tool on the rows that are chosen."""
        return replace(self, score=self.score[chosen])

    def decided_at(self, probability: float) -> Tool:
        """Return the tool saying AI from this probability of its own on."""
        cut = probability if self.kind == "probability" else float(special.logit(probability))
        return replace(self, cut=cut)


def from_csv(name: str, path: Path, rows: Sequence[Row]) -> Tool:
    """Return the scores that a CSV with the columns file and score gives to the rows.

    Files are those of the set; what stands before an `images/` is not looked at. Lines about
    other images are passed over. Raises EvidenceError.
    """
    score = _aligned(path, rows)
    is_probability = bool(np.nanmin(score) >= 0 and np.nanmax(score) <= 1)
    return Tool(
        name=name,
        score=score,
        kind="probability" if is_probability else "logit",
        cut=0.5 if is_probability else 0.0,
        origin=f"scores of {path.name}",
        seen="not known",
    )


def from_run(run: Path, rows: Sequence[Row]) -> Tool:
    """Return the out-of-fold logits of a training run; raises EvidenceError."""
    path = run / "scores.csv"
    if not path.is_file():
        raise EvidenceError(
            f"{run} has no scores.csv: it is written when every fold is trained "
            "(pinclip train --all-folds)."
        )
    return Tool(
        name=run.resolve().name,
        score=_aligned(path, rows),
        kind="logit",
        cut=0.0,
        origin="training run, each image scored by the fold that never saw it",
        seen="held out",
    )


def from_weights(
    detector: detectors.Detector, images: ImageSet, *, trained_on: str, at: Iterable[int]
) -> Tool:
    """Return the detector's logits of the rows `at`.

    `trained_on` is the digest of the data that the weights were fitted on: where it is this set's,
    the scores say how well the images were learnt, not how well the detector works.
    """
    is_same = trained_on == digest(images.rows)
    return Tool(
        name=detector.weights_id,
        score=score_images(images, weights_scorer(detector), at),
        kind="logit",
        cut=0.0,
        origin=f"weights {detector.weights_id}, scored here",
        seen="trained on" if is_same else "not known",
    )


def weights_scorer(detector: detectors.Detector) -> Scorer:
    """Return a scorer that gives the detector's raw logits, whatever the row."""

    def score(pictures: Sequence[Image.Image], rows: Sequence[Row]) -> Floats:
        del rows  # one model scores all
        size = detector.batch_limit
        inputs = [detector.prepare(to_rgb(picture)) for picture in pictures]
        parts = [
            detector.forward(np.stack(inputs[start : start + size]))[:, 0]
            for start in range(0, len(inputs), size)
        ]
        return np.concatenate(parts).astype(np.float64)

    return score


def score_images(images: ImageSet, scorer: Scorer, at: Iterable[int]) -> Floats:
    """Return the scores of the rows `at`, NaN for the others and for what cannot be read."""
    found = np.full(len(images.rows), np.nan)
    batch: list[tuple[int, Image.Image]] = []
    for index in at:
        try:
            batch.append((index, decode(images.read(images.rows[index]))))
        except UnreadableError:
            continue
        if len(batch) == BATCH:
            _score_batch(images, scorer, batch, found)
            batch = []
    if batch:
        _score_batch(images, scorer, batch, found)
    return found


def pick(rows: Sequence[Row], limit: int | None, *, seed: int) -> list[int]:
    """Return the indices of at most `limit` rows, half of them AI, sources in turn."""
    if limit is None or limit >= len(rows):
        return list(range(len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    turn: dict[tuple[str, str], int] = {}
    ranked: dict[str, list[tuple[int, int]]] = {"ai": [], "real": []}
    for index in (int(i) for i in order):
        row = rows[index]
        rank = turn[row.label, row.source] = turn.get((row.label, row.source), -1) + 1
        ranked[row.label].append((rank, index))
    ai = [index for _, index in sorted(ranked["ai"], key=lambda one: one[0])]
    real = [index for _, index in sorted(ranked["real"], key=lambda one: one[0])]
    share = min(len(ai), max(limit // 2, limit - len(real)))
    return sorted(ai[:share] + real[: limit - share])


def common(tools: Sequence[Tool]) -> Flags:
    """Return which rows every tool has scored; raises EvidenceError where none is left."""
    scored: Flags = np.all([np.isfinite(tool.score) for tool in tools], axis=0)
    if not scored.any():
        names = ", ".join(tool.name for tool in tools)
        raise EvidenceError(f"No image has a score of every tool ({names}): score the same files.")
    return scored


def _score_batch(
    images: ImageSet, scorer: Scorer, batch: Sequence[tuple[int, Image.Image]], found: Floats
) -> None:
    at = [index for index, _ in batch]
    found[at] = scorer([picture for _, picture in batch], [images.rows[index] for index in at])


def _aligned(path: Path, rows: Sequence[Row]) -> Floats:
    scores = _read(path, {row.file: row for row in rows})
    found = np.array([scores.get(row.file, math.nan) for row in rows])
    if not np.isfinite(found).any():
        example = next(iter(scores), "")
        raise EvidenceError(
            f"{path} scores no image of this set: its files are like {example!r}, those of the "
            f"set like {rows[0].file!r}."
        )
    return found


def _read(path: Path, row_of: Mapping[str, Row]) -> dict[str, float]:
    """Return the score of each file of a CSV."""
    scores: dict[str, float] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = {"file", "score"} - set(reader.fieldnames or ())
            if missing:
                raise EvidenceError(
                    f"{path} lacks the column {' and '.join(sorted(missing))}: its first line "
                    "names the columns, file and score among them."
                )
            for line in reader:
                file = _key(line["file"] or "")
                scores[file] = _score(line, f"{path}:{reader.line_num}", file in scores)
                if file in row_of:
                    _check_row(line, row_of[file], f"{path}:{reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvidenceError(f"{path} cannot be read as CSV: {error}.") from None
    return scores


def _key(file: str) -> str:
    """Return a file's name below images/, however a tool has written its path."""
    name = file.replace("\\", "/").removeprefix("./")
    return f"/{name}".rpartition("/images/")[2] if "/images/" in f"/{name}" else name


def _score(line: Mapping[str, str | None], where: str, is_second: bool) -> float:
    try:
        score = float(line["score"] or "")
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise EvidenceError(
            f"{where}: the score is {line['score']!r}: give a finite number, or leave the line out."
        )
    if is_second:
        raise EvidenceError(f"{where}: {line['file']} has a second score: keep one line a file.")
    return score


def _check_row(line: Mapping[str, str | None], row: Row, where: str) -> None:
    """Refuse scores that were made for another labelling or other folds of the same files."""
    label, fold = line.get("label") or row.label, line.get("fold") or str(row.fold)
    if label != row.label:
        raise EvidenceError(
            f"{where}: label {label}, but the set says {row.label}: the scores are of another set."
        )
    if fold != str(row.fold):
        raise EvidenceError(
            f"{where}: fold {fold}, but the set says {row.fold}: evaluate the set that the scores "
            "are of, or leave the column out where folds mean nothing."
        )

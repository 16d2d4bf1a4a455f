"""How good is a run on what it never saw? `python benchmarks/left_out.py DATA RUN [--work FOLDER]`.

    families   the recipe of RUN, trained again without a whole family of generators (and without
               the real images of HELD_FOLDS), scores that family against those real images
    second     images that the models of RUN accuse, unseen, LOOKED of each class at most: the share
               whose score falls below the threshold when the picture is saved again, half its size
    served     DATA/served.csv: the same images in original bytes and as DATA has them, each scored
               by the model of RUN that never saw its fold

A JSON line each. DATA has manifest.csv and images/, and may have served.csv and served/.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from pinclip import metrics, runs, start, train
from pinclip.activations import Pictures
from pinclip.data.families import family
from pinclip.data.sets import decode, open_set
from pinclip.distributed import World
from pinclip.preprocess import reencoded, to_rgb
from pinclip.recipe import read_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinclip.data import Row

HELD_FOLDS = (0, 1)
SMALLEST = 60
"""Fewest images of a family that is left out."""
LOOKED = 200
ACCUSED = 0.03
"""Share of the real images, all folds together, that the threshold of `second` flags."""


def main() -> int:
    """Measure both and print a line for each family and each slice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--work", type=Path, help="folder of activations (default: RUN/work)")
    options = parser.parse_args()
    if (options.data / "served.csv").exists():
        print(json.dumps(served(options.data, options.run)), flush=True)
    print(json.dumps(second_look(options.data, options.run)), flush=True)
    for line in families(options.data, options.run, options.work or options.run / "work"):
        print(json.dumps(line), flush=True)
    return 0


def families(folder: Path, run: Path, work: Path) -> Iterator[dict[str, object]]:
    """Yield what a training without each family says of it."""
    how, tower, world = read_recipe(run / "recipe.toml"), runs.shipped_tower(), World()
    images = open_set(folder, layout=how.data.layout)
    pictures = Pictures(read=images.read, how=how, preprocessing=runs.preprocessing(tower.visual))
    inputs = runs.inputs_of(tower, pictures, images.rows, work=work, world=world)
    examples = train.examples(images.rows, inputs)
    survey = start.survey(start.make(tower.visual, how), examples, world)
    of = np.array([family(row.generator) if row.label == "ai" else "" for row in images.rows])
    is_held = np.array([row.label == "real" and row.fold in HELD_FOLDS for row in images.rows])
    for name, count in zip(*np.unique(of, return_counts=True), strict=True):
        if name in ("", "unknown") or count < SMALLEST:
            continue
        left = np.flatnonzero((of == name) | is_held)
        kept = np.flatnonzero((of != name) & ~is_held & ~_mixed(images.rows, of == name))
        model = start.make(tower.visual, how)
        train.fit(model, examples, how, keep=torch.from_numpy(kept), out=None, survey=survey)
        logits = train.score_all(model, examples, torch.from_numpy(left))
        yield {"name": "families", "family": str(name), **_figures(logits, of[left] == name)}


def _mixed(rows: tuple[Row, ...], is_out: np.ndarray) -> np.ndarray:
    """Return the AI images whose group also holds images of the family that is left out."""
    groups = {row.group for row, out in zip(rows, is_out, strict=True) if out}
    return np.array([row.label == "ai" and row.group in groups for row in rows])


def served(folder: Path, run: Path) -> dict[str, object]:
    """Return AUC on original bytes, and on the same images as the set has them."""
    rows = {row.file: row for row in open_set(folder, layout="manifest").rows}
    with (folder / "served.csv").open(newline="") as lines:
        pairs = [(line["file"], rows[line["image"]]) for line in csv.DictReader(lines)]
    as_kept = _scores(run)
    score, logits = runs.fold_scorer(run), []
    for file, row in pairs:
        with Image.open(folder / file) as image:
            logits.append(score([Image.fromarray(to_rgb(image))], [row])[0])
    kept = np.array([as_kept[row.file] for _, row in pairs])
    is_ai = np.array([row.label == "ai" for _, row in pairs])
    is_photo = np.array([row.slice == "photo" for _, row in pairs])
    slices = {"all": np.ones(len(pairs), bool), "photos": is_photo, "others": ~is_photo}
    return {
        "name": "served",
        **{
            name: {
                "original bytes": _figures(np.array(logits)[where], is_ai[where]),
                "as kept": _figures(kept[where], is_ai[where]),
            }
            for name, where in slices.items()
        },
    }


def second_look(folder: Path, run: Path) -> dict[str, object]:
    """Return how many accusations a second look at the re-encoded picture withdraws."""
    images = open_set(folder, layout="manifest")
    kept = _scores(run)
    logits = np.array([kept[row.file] for row in images.rows])
    is_ai = np.array([row.label == "ai" for row in images.rows])
    threshold = metrics.threshold_at(logits[~is_ai], ACCUSED)
    score, random = runs.fold_scorer(run), np.random.default_rng(0)
    found: dict[str, object] = {"name": "second look", "threshold": round(threshold, 3)}
    for name, where in (("real", ~is_ai), ("ai", is_ai)):
        accused = np.flatnonzero(where & (logits >= threshold))
        rows = [images.rows[i] for i in random.permutation(accused)[:LOOKED]]
        again = [score([_saved_again(decode(images.read(row)))], [row])[0] for row in rows]
        withdrawn = float((np.array(again) < threshold).mean())
        found[name] = {"accused": len(accused), "looked": len(rows), "withdrawn": withdrawn}
    return found


def _saved_again(image: Image.Image) -> Image.Image:
    return Image.fromarray(reencoded(np.asarray(image)))


def _scores(run: Path) -> dict[str, float]:
    with (run / "scores.csv").open(newline="") as lines:
        return {line["file"]: float(line["score"]) for line in csv.DictReader(lines)}


def _figures(logits: np.ndarray, is_ai: np.ndarray) -> dict[str, object]:
    return {
        "ai": int(is_ai.sum()),
        "real": int((~is_ai).sum()),
        "auc": round(metrics.auc(logits, is_ai), 4),
        "recall_at_0.01": round(metrics.recall_at(logits, is_ai, 0.01), 3),
        "recall_at_0.05": round(metrics.recall_at(logits, is_ai, 0.05), 3),
    }


if __name__ == "__main__":
    sys.exit(main())

"""A run folder: what one recipe makes of one set, fold by fold, and what fills it.

    RUN/recipe.toml      the recipe as it was given: training it again makes this folder again
        run.json         digests of recipe, data and tower; seed, commit, versions, command
        fold-K/          trained without fold K, and its scores.csv     (the rest: progress.py)
        final/           trained on everything
        scores.csv       logits of every image by the model that never saw its fold
        work/            activations of the frozen tower, unless --work says where

A folder belongs to one recipe, one set and one tower; any other is refused. Takes no step itself,
and reads no argument (command.py).
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Struct
from PIL import Image
from tqdm import tqdm

from . import checkpoint, data, start, train
from .activations import Drawn, Kept, Pictures, keep, store_key, threads
from .checkpoint import CheckpointError
from .data.duplicates import check_splits, readable_prints
from .data.errors import DataError
from .data.sentinel import audit
from .data.sets import ImageSet, open_set, readable
from .distributed import DeviceError, World, join
from .preprocess import PREPROCESSING, Preprocessing, to_rgb
from .progress import CHECKPOINT, MODEL, Stopped, TrainingError
from .recipe import Recipe, RecipeError, digest, read_recipe
from .sampling import SamplingError
from .tower import image_tower
from .weights import WeightsError, open_weights

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray
    from open_clip.transformer import VisionTransformer

    from .data.duplicates import Fingerprint
    from .data.manifest import Row
    from .model import PinClip

    Scorer = Callable[[Sequence[Image.Image], Sequence[Row]], NDArray[np.float64]]

MISUSE, STOPPED = 2, 143
"""Exit statuses: something refused; ended by SIGTERM, saved."""
REFUSALS = (
    CheckpointError,
    DataError,
    DeviceError,
    RecipeError,
    SamplingError,
    TrainingError,
    WeightsError,
)
FINAL = "final"
COLUMNS = ("file", "label", "source", "group", "fold", "score")
PACKAGES = (
    *("pinclip", "torch", "open_clip_torch", "numpy", "pillow", "safetensors", "scikit-learn"),
)


class Tower(NamedTuple):
    """The frozen tower, and the sha256 that names its tensors."""

    visual: VisionTransformer
    sha256: str


class Facts(Struct, frozen=True, kw_only=True):
    """run.json. The first three say what the folder belongs to."""

    recipe: str
    data: str
    tower: str
    seed: int
    images: int
    commit: str
    """Of pinclip's checkout, "-dirty" behind it if files were changed; "" outside one."""
    versions: dict[str, str]
    command: str


def shipped_tower() -> Tower:
    """Return the tower of the installed weights; raises WeightsError."""
    weights = open_weights()
    return Tower(image_tower(weights.base()), weights.meta.base.sha256)


def fill(
    options: argparse.Namespace, *, told: str, tower: Callable[[], Tower] = shipped_tower
) -> int:
    """Train what the arguments of `pinclip train` ask for; return the exit status.

    told: the command as it was given, for run.json. A refusal is a sentence on stderr.
    """
    try:
        with join(options.device) as world:
            _train(options, tower(), world, told=told)
    except Stopped as stopped:
        sys.stderr.write(f"pinclip: {stopped} The same command goes on from there.\n")
        return STOPPED
    except REFUSALS as error:
        sys.stderr.write(f"pinclip: {error}\n")
        return MISUSE
    return 0


def _train(options: argparse.Namespace, tower: Tower, world: World, *, told: str) -> None:
    how = read_recipe(options.recipe)
    images, prints = _images(options, how, world)
    rows = images.rows
    names = _folds(rows, options)
    start.make(tower.visual, how)  # refuses a recipe that does not fit before a folder is made
    if prints is not None:
        _inspect(images, prints)
    open_run(options.out, options.recipe, facts(how, rows, tower.sha256, told), world)
    tower.visual.to(world.device)
    pictures = Pictures(read=images.read, how=how, preprocessing=preprocessing(tower.visual))
    work = options.work or options.out / "work"
    inputs = inputs_of(tower, pictures, rows, work=work, world=world)
    examples = train.examples(rows, inputs)
    survey = None
    for name, keep_them in names:
        model = start.make(tower.visual, how)
        if survey is None and not (options.out / name / CHECKPOINT).exists():
            survey = start.survey(model.to(world.device), examples, world)
        out = options.out / name
        train.fit(model, examples, how, keep=keep_them, out=out, world=world, survey=survey)
        left = _others(keep_them, len(rows))
        logits = train.score_all(model, examples, left, world=world)
        if world.is_first and len(left):
            _write_scores(out / "scores.csv", [rows[i] for i in left.tolist()], logits)
            gather_scores(options.out)
    if world.is_first:
        sys.stdout.write(f"{options.out}: {', '.join(name for name, _ in names)}\n")


def inputs_of(
    tower: Tower, pictures: Pictures, rows: Sequence[Row], *, work: Path, world: World
) -> Kept | Drawn:
    """Return where the images of a recipe come from: activations kept in `work`, or the pictures.

    What the tower does before the first block that is tuned or noised is computed once for each
    view; where that is nothing, pictures are read for each step.
    """
    how = pictures.how
    model = start.make(tower.visual, how).to(world.device)
    if model.plan.cut == 0:
        return Drawn(pictures, rows, device=world.device, threads=threads())
    is_over = model.plan.cut == model.plan.last and model.plan.site is None  # no tokens are kept
    parts = [model.plan.cut, model.plan.prefix_blocks, is_over]
    folder = work / f"activations-{store_key(tower.sha256, parts, pictures, rows)}"
    count = 1 + (how.augment.views if how.augment.is_on else 0)
    views = [
        keep(model, pictures, rows, folder=folder / f"view-{view}", view=view, world=world)
        for view in range(count)
    ]
    return Kept(views=tuple(views), device=world.device)


def preprocessing(visual: VisionTransformer) -> Preprocessing:
    """Return the preprocessing that serves, at the tower's size."""
    return msgspec.structs.replace(PREPROCESSING, size=visual.image_size[0])


def open_run(out: Path, recipe: Path, facts: Facts, world: World) -> None:
    """Make the run folder, or go on with it; raises CheckpointError if it belongs to another."""
    path = out / "run.json"
    if path.exists():
        _check(out, msgspec.json.decode(path.read_bytes(), type=Facts), facts)
    elif world.is_first:
        checkpoint.write_whole(out / "recipe.toml", recipe.read_bytes())
        told = msgspec.json.format(msgspec.json.encode(facts), indent=1)
        checkpoint.write_whole(path, told + b"\n")
    world.wait()


def facts(how: Recipe, rows: Sequence[Row], tower: str, told: str) -> Facts:
    """Return what run.json says."""
    return Facts(
        recipe=digest(how),
        data=data.digest(rows),
        tower=tower,
        seed=how.seed,
        images=len(rows),
        commit=_commit(),
        versions={"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}},
        command=told,
    )


def read_facts(run: Path) -> Facts:
    """Return what run.json says; raises CheckpointError where there is none."""
    try:
        return msgspec.json.decode((run / "run.json").read_bytes(), type=Facts)
    except (OSError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            "checkpoint_damaged", f"{run} is no run folder of `pinclip train` ({error})."
        ) from None


def load_model(run: Path, name: str, visual: VisionTransformer) -> PinClip:
    """Return the model of a folder of a run ("fold-3", "final"), ready to score.

    Raises RecipeError and CheckpointError.
    """
    how = read_recipe(run / "recipe.toml")
    state, _ = checkpoint.load(run / name / MODEL, recipe=digest(how), data=None)
    model = start.make(visual, how)
    model.load_trained_state(state)
    return model.eval()


def fold_scorer(run: Path, tower: Tower | None = None) -> Scorer:
    """Return a function (RGB pictures, their rows) -> logits by the model that saw no such fold.

    The pictures may be altered; a row says by its fold which model is asked, and by its file what
    the recipe's law of size and encoding draws for it. Raises as load_model.
    """
    # Method 5: one law for every image before anything else, so these models have seen no picture
    # that is not under it, and RUN/scores.csv, where thresholds come from, is of such pictures. An
    # alteration is part of what befell a picture before it came here, so the law comes after it,
    # with the size and quality that were drawn for the picture as it was.
    visual = (tower or shipped_tower()).visual
    how, models = read_recipe(run / "recipe.toml"), dict[int, "PinClip"]()

    def shown(image: Image.Image, row: Row) -> NDArray[np.float32]:
        as_file = _without_loss(image)
        seen = Pictures(read=lambda _: as_file, how=how, preprocessing=preprocessing(visual))
        return seen(row, 0)

    def score(images: Sequence[Image.Image], rows: Sequence[Row]) -> NDArray[np.float64]:
        logits = np.zeros(len(images))
        batch = np.stack([shown(*each) for each in zip(images, rows, strict=True)])
        for fold in {row.fold for row in rows}:
            if fold not in models:
                models[fold] = load_model(run, f"fold-{fold}", visual)
            where = np.array([row.fold == fold for row in rows])
            logits[where] = models[fold].score(torch.from_numpy(batch[where])).double().numpy()
        return logits

    return score


def _without_loss(image: Image.Image) -> bytes:
    """Return a picture as the bytes of a file that decodes to the same pixels."""
    file = BytesIO()
    Image.fromarray(to_rgb(image)).save(file, "PPM")
    return file.getvalue()


def gather_scores(run: Path) -> None:
    """Join the scores of the folds that are done into RUN/scores.csv."""
    lines: list[str] = []
    for path in sorted(run.glob("fold-*/scores.csv")):
        lines += path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    content = ",".join(COLUMNS) + "\n" + "".join(lines)
    checkpoint.write_whole(run / "scores.csv", content.encode())


def _write_scores(path: Path, rows: Iterable[Row], logits: NDArray[np.float64]) -> None:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row, logit in zip(rows, logits, strict=True):
        table.writerow([row.file, row.label, row.source, row.group, row.fold, f"{logit:.6f}"])
    checkpoint.write_whole(path, text.getvalue().encode())


def _images(
    options: argparse.Namespace, how: Recipe, world: World
) -> tuple[ImageSet, list[Fingerprint] | None]:
    """Return the set without what cannot be read, which the first process lists.

    A new run also gets what its images are compared by, of the same pass over them.
    """
    layout = options.layout or how.data.layout
    found, prints = open_set(options.data, layout=layout, folds=how.data.folds), None
    if (options.out / "run.json").exists():
        images, unreadable = readable(found, limit=how.data.unreadable)
    else:
        images, unreadable, prints = readable_prints(found, limit=how.data.unreadable)
    if world.is_first:
        for note in [*images.notes, *(f"left out, unreadable: {text}" for text in unreadable)]:
            tqdm.write(f"pinclip: {note}", file=sys.stderr)
    return images, prints


def _inspect(images: ImageSet, prints: Sequence[Fingerprint]) -> None:
    """Refuse a new run on folds that share pictures; warn of a set that is told apart unseen."""
    check_splits(images, prints=prints)
    warning = audit(images).warning
    if warning:
        tqdm.write(f"pinclip: {warning}", file=sys.stderr)


def _folds(rows: Sequence[Row], options: argparse.Namespace) -> list[tuple[str, torch.Tensor]]:
    """Return what is trained: a folder's name and the images (indices) that are trained on."""
    fold = torch.tensor([row.fold for row in rows])
    there = sorted(set(fold.tolist()))
    if options.fold is not None and options.fold not in there:
        raise RecipeError(f"--fold {options.fold}: the set has folds {', '.join(map(str, there))}.")
    if (options.fold is not None or options.all_folds) and len(there) < 2:
        raise RecipeError("The set has one fold: set data.folds to 2 or more to leave one out.")
    chosen = there if options.all_folds else [] if options.fold is None else [options.fold]
    plans = [(f"fold-{k}", torch.nonzero(fold != k).flatten()) for k in chosen]
    if options.fold is None:
        plans.append((FINAL, torch.arange(len(rows))))
    return plans


def _others(indices: torch.Tensor, count: int) -> torch.Tensor:
    is_left = torch.ones(count, dtype=torch.bool)
    is_left[indices] = False
    return torch.nonzero(is_left).flatten()


def _check(out: Path, before: Facts, now: Facts) -> None:
    for name, is_other in (("recipe", "by another recipe"), ("data", "on other data")):
        if getattr(before, name) != getattr(now, name):
            raise CheckpointError(
                f"checkpoint_{name}",
                f"{out} was begun {is_other} ({getattr(before, name)[:12]}, now "
                f"{getattr(now, name)[:12]}): give another --out, or what it was begun with.",
            )
    if before.tower != now.tower:
        raise CheckpointError(
            "checkpoint_format",
            f"{out} was begun with other weights of the tower: give another --out, or install "
            "the weights it was begun with.",
        )


def _commit() -> str:
    """Return the commit of the checkout that this file lies in, "" if it lies in none."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return ""
    order = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        found = subprocess.run(order, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - fixed words and our own path
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()

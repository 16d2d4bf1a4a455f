"""`pinclip ablate SET -o FOLDER`: what of the method is worth having (method 3).

    SET, activations --> Bench                                         evidence/fitting.py
      split        one fold, or one generator family, left out         evidence/splits.py
        arm        trials on validation sources --> setting            evidence/arms.py
          seed     fit -> threshold on validation -> rates on left-out sources
    FOLDER/runs.jsonl --> ablation.json, ablation.md, the rule's answer    evidence/ablation.py

Every arm has the same trials and the same validation sources. What was chosen on them is never
reported on them. Arms whose noise has the energy of another arm's follow it. A run that is in the
folder is not made again. Knows the order of runs, and where their inputs come from.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from . import data, recipe, runs
from .activations import Drawn, Kept, Pictures, View
from .data.sets import open_set
from .distributed import World, join
from .evidence import ablation, arms, fitting, planted, splits
from .evidence.arms import Arm, ArmError, Setting, Stage
from .evidence.fitting import Bench, InputsFor
from .evidence.planted import SWAPPED, Sides
from .evidence.records import Plan, RecordsError, Run, Store
from .evidence.splits import Split, SplitError
from .recipe import Model, Recipe
from .runs import Tower
from .train import Inputs

if TYPE_CHECKING:
    from torch import Tensor

    from .data.sets import ImageSet
    from .model import PinClip

MISUSE = 2
TRIAL_SEED = 0
"""The one seed of all trials."""


class InputError(Exception):
    """Class tokens or options that do not fit the set; the text says what does."""


REFUSALS = (*runs.REFUSALS, ArmError, InputError, RecordsError, SplitError)


def run(options: argparse.Namespace, tower: Callable[[], Tower]) -> int:
    """Do what the options ask for and print the page; returns the exit status."""
    try:
        with join(options.device) as world:
            text = ablate(options, tower, world)
    except REFUSALS as error:
        sys.stderr.write(f"pinclip: {error}\n")
        return MISUSE
    sys.stdout.write(text)
    return 0


def ablate(options: argparse.Namespace, tower: Callable[[], Tower], world: World) -> str:
    """Do what the options ask for; return the page."""
    stage: Stage = "tuned" if options.tuned else "frozen"
    chosen = arms.choose(options.arms, stage)
    images = open_set(options.set, layout=options.layout)
    every = splits.by_family(images.rows) if options.families else splits.by_fold(images.rows)
    left_out = splits.named(every, options.splits)
    store = Store(options.out, plan_of(images, stage, options))
    if not options.report:
        make = _tuned_bench if options.tuned else _frozen_bench
        opened = tower()
        opened.visual.to(world.device)
        bench = make(images, opened, options, world)
        run_all(bench, store, chosen, left_out, seeds=options.seeds)
    return write(store, options.out)


def run_all(
    bench: Bench, store: Store, chosen: Sequence[Arm], left_out: Sequence[Split], *, seeds: int
) -> None:
    """Make every run that is not in the store, split by split, arm by arm."""
    jobs = [(split, arm) for split in left_out for arm in chosen]
    for split, arm in tqdm(jobs, unit="arm", disable=None):
        best = tune(bench, store, arm, split)
        for seed in range(seeds):
            if store.get((split.name, arm.name, seed, None)) is None:
                store.add(make_run(bench, store, arm, split, best.setting, seed=seed))


def tune(bench: Bench, store: Store, arm: Arm, split: Split) -> Run:
    """Return the arm's best trial by M on validation sources; the first among equals."""
    found = []
    for number, setting in enumerate(arms.trials(store.plan.trials)):
        run = store.get((split.name, arm.name, TRIAL_SEED, number))
        if run is None:
            run = make_run(bench, store, arm, split, setting, seed=TRIAL_SEED, trial=number)
            store.add(run)
        found.append(run)
    return max(found, key=lambda run: run.validation)


def make_run(
    bench: Bench,
    store: Store,
    arm: Arm,
    split: Split,
    setting: Setting,
    *,
    seed: int,
    trial: int | None = None,
) -> Run:
    """Fit an arm under a setting and measure it; a trial looks at validation sources alone."""
    began = time.perf_counter()
    scale = matched_scale(bench, store, arm, split)
    base = arms.base(store.plan.stage, store.plan.blocks)
    how = arms.recipe_of(arm, base, setting, seed=seed, scale=scale)
    validation = splits.validation_of(split, bench.rows, seed=seed)
    found = fitting.fitted(bench, how, split.pool & ~validation)
    modes = arm.modes if trial is None else arm.modes[:1]
    judged = [fitting.judge(bench, found, mode, validation) for mode in modes]
    outcomes = (
        []
        if trial is not None
        else [
            outcome
            for each in judged
            for outcome in fitting.outcomes(bench, found, each, split.test)
        ]
    )
    return Run(
        split=split.name,
        arm=arm.name,
        seed=seed,
        trial=trial,
        setting=dict(setting),
        recipe=recipe.digest(how),
        validation=judged[0].m,
        energy=fitting.energy(bench, found),
        seconds=round(time.perf_counter() - began, 3),
        outcomes=tuple(outcomes),
    )


def matched_scale(bench: Bench, store: Store, arm: Arm, split: Split) -> float | None:
    """Return s of the noise that this arm is matched to, as its best trial has it in this split."""
    if arm.matched is None:
        return None
    other = arms.choose(arm.matched, store.plan.stage)[0]
    energy = tune(bench, store, other, split).energy
    return None if energy is None else float(energy**0.5)


def write(store: Store, folder: Path) -> str:
    """Write ablation.json and ablation.md of all runs in the folder; return the page."""
    tests = store.tests()
    found = ablation.result(store.plan, tests)
    text = ablation.page(found)
    if store.plan.protocol == "planted":
        text += planted.section(tests, complete=[line.arm for line in found.lines])
    (folder / "ablation.md").write_text(text, encoding="utf-8")
    (folder / "ablation.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
    )
    return text


def plan_of(images: ImageSet, stage: Stage, options: argparse.Namespace) -> Plan:
    """Return what all runs of the output folder share."""
    base = arms.base(stage, options.blocks or ())
    return Plan(
        stage=stage,
        protocol="families" if options.families else "planted" if options.planted else "groups",
        data=data.digest(images.rows),
        base=recipe.digest(base),
        trials=options.trials,
        blocks=base.model.adapter.blocks if stage == "tuned" else (),
        detail=f"Shortcut: {options.planted}." if options.planted else "",
    )


def read_class_tokens(path: Path, images: ImageSet) -> Tensor:
    """Return raw class tokens of every block, (N, layers, width), in the order of the set's rows.

    Raises InputError for a .npy file of another shape.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a .npy file.") from None
    if found.ndim != 3 or len(found) != len(images.rows):
        raise InputError(
            f"{path} is {found.shape}; expected ({len(images.rows)}, blocks, width): the class "
            f"token of every block for each image of {images.name}, in its order."
        )
    return torch.from_numpy(np.ascontiguousarray(found))


def from_class_tokens(classes: Tensor, *, device: torch.device) -> InputsFor:
    """Return inputs of a frozen tower: of all blocks' class tokens (N, layers, W) those it reads.

    Each choice of blocks is cut out once and then shared by all models.
    """
    kept: dict[tuple[int, ...], Kept] = {}

    def inputs_for(model: PinClip) -> Kept:
        blocks = model.plan.prefix_blocks
        if blocks not in kept:
            chosen = classes[:, [block - 1 for block in blocks]].to(device)
            kept[blocks] = Kept(views=(View(classes=chosen),), device=device)
        return kept[blocks]

    return inputs_for


def _frozen_bench(
    images: ImageSet, tower: Tower, options: argparse.Namespace, world: World
) -> Bench:
    """Return the bench of the arms that are heads on stored class tokens."""
    plain = _class_tokens(images, tower, options.class_tokens, options.work, world)
    bench = Bench(
        rows=images.rows,
        visual=tower.visual,
        inputs_for=from_class_tokens(plain, device=world.device),
        world=world,
    )
    if not options.planted:
        return bench
    shown = planted.marked(images, options.planted)
    # What is kept is named by files, not by what was done to them: a folder of its own.
    work = options.work and options.work / f"marked-{options.planted}"
    sides = Sides(plain, _class_tokens(shown, tower, options.marked_tokens, work, world))
    is_ai = torch.tensor([row.label == "ai" for row in images.rows])
    return replace(
        bench,
        inputs_for=from_class_tokens(sides.where(is_ai), device=world.device),
        tests={SWAPPED: from_class_tokens(sides.where(~is_ai), device=world.device)},
    )


def _class_tokens(
    images: ImageSet, tower: Tower, given: Path | None, work: Path | None, world: World
) -> Tensor:
    """Return the class tokens of all blocks: read from a file, or computed and kept in `work`."""
    if given is not None:
        return read_class_tokens(given, images)
    blocks = tuple(range(1, len(tower.visual.transformer.resblocks) + 1))
    how = Recipe(name="class-tokens", model=Model(blocks=blocks))
    found = _inputs(images, tower, how, work, world)
    return found.views[0].classes.cpu() if isinstance(found, Kept) else torch.empty(0)


def _tuned_bench(
    images: ImageSet, tower: Tower, options: argparse.Namespace, world: World
) -> Bench:
    """Return the bench of the arms that send gradients through the tower."""
    kept: dict[object, Inputs] = {}

    def inputs_for(model: PinClip) -> Inputs:
        how, plan = model.how, model.plan
        key = (plan.cut, plan.prefix_blocks, plan.site, how.augment, how.equalise)
        if key not in kept:
            kept[key] = _inputs(images, tower, how, options.work, world)
        return kept[key]

    return Bench(rows=images.rows, visual=tower.visual, inputs_for=inputs_for, world=world)


def _inputs(
    images: ImageSet, tower: Tower, how: Recipe, work: Path | None, world: World
) -> Kept | Drawn:
    """Return what a recipe's model sees of the set.

    Pictures are drawn by one seed: views are the same for every seed of a run, and kept once.
    """
    if work is None:
        raise InputError("--work is needed: a folder that keeps what the tower makes of the set.")
    pictures = Pictures(
        read=images.read,
        how=msgspec.structs.replace(how, seed=TRIAL_SEED),
        preprocessing=runs.preprocessing(tower.visual),
    )
    return runs.inputs_of(tower, pictures, images.rows, work=work, world=world)

"""The arms of the ablation: what each one changes of one recipe, and what that asks (method 3).

    base recipe --setting (a trial)--> --change (the arm)--> --matched (the energy of A5)--> Recipe

    frozen   the tower as it is: every arm is a head, and noise, on stored features     seconds
    tuned    LoRA or more: gradients go through the tower                               hours

All arms are given the same trials, so none is tuned better than another. Knows what is changed,
not how anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace
from scipy.stats import qmc

from pinclip.recipe import Adapter, Augment, Equalise, Model, Noise, Optimise, Recipe

Stage = Literal["frozen", "tuned"]
Mode = Literal["off", "mean", "mc"]
Setting = Mapping[str, float]
Change = Callable[[Recipe], Recipe]

RANGES = {
    "rate_head": (3e-4, 1e-2),
    "weight_decay": (1e-3, 1.0),
    "sigma_0": (0.1, 1.0),
    "beta": (0.005, 0.5),
    "rate_noise": (3e-4, 3e-3),
    "rate_adapter": (5e-5, 5e-4),
}
"""What a trial sets, drawn evenly on a logarithmic scale. What an arm lacks is of no account."""
GRID = (0.1, 0.3, 1.0)
"""The 3-point grid of s in A2-grid."""
METHOD, GAUSSIAN, GAUSSIAN_GRID, MEAN = "A5", "A2", "A2-grid", "A3"
COMPARED = (
    (METHOD, (GAUSSIAN, GAUSSIAN_GRID), MEAN),
    ("A6-S1", ("A6-gaussian",), "A6-mean"),
    ("A7-A5", ("A7-gaussian",), "A7-mean"),
)
"""Learned noise, the Gaussian noise and the mean shift it must beat. The first is the rule's own
(method 3); the others are where it might yet win, and are told as such."""


class ArmError(Exception):
    """An arm that does not exist, or not in this stage; the text says which do."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of the ablation.

    `matched` names the arm whose noise has the energy that this arm's noise is given: s^2 d = mean
    of (tr Sigma + |mu|^2). `modes` are the ways of using it at test, each a line of its own.
    """

    name: str
    question: str
    change: Change
    matched: str | None = None
    grid: bool = False
    modes: tuple[Mode, ...] = ("off",)
    stages: tuple[Stage, ...] = ("frozen", "tuned")


def base(stage: Stage, blocks: Sequence[int] = ()) -> Recipe:
    """Return the recipe that every arm changes: z, a linear head, no noise (method 1).

    `blocks` are those that tuned arms tune, by default the recipe's own.
    """
    if stage == "frozen":
        return Recipe(
            name="ablation-frozen",
            model=Model(features="embedding"),
            optimise=Optimise(epochs=4, batch=128, average=0.98),
            noise=Noise(warm_up=20),
        )
    return Recipe(
        name="ablation-tuned",
        model=Model(
            features="embedding",
            adapter=Adapter(kind="lora", blocks=tuple(blocks) or Adapter().blocks),
        ),
        noise=Noise(warm_up=100),
    )


def trials(number: int) -> list[dict[str, float]]:
    """Return the settings that every arm is tried with: the same Sobol sequence over RANGES.

    `number` is best a power of two (Sobol's balance).
    """
    sequence = qmc.Sobol(len(RANGES), rng=0).random_base2(max(0, (number - 1).bit_length()))
    return [
        {
            name: float(low * (high / low) ** share)
            for (name, (low, high)), share in zip(RANGES.items(), point, strict=True)
        }
        for point in sequence[:number]
    ]


def recipe_of(
    arm: Arm, base: Recipe, setting: Setting, *, seed: int, scale: float | None = None
) -> Recipe:
    """Return what is trained: `setting` first, then what the arm changes, then the matched noise.

    `scale` is s, the RMS of a coordinate of the noise of `arm.matched`; raises ArmError where the
    arm needs it and it is None.
    """
    recipe = arm.change(replace(_set(base, setting), seed=seed))
    if arm.grid:
        recipe = noised(recipe, sigma_0=_snapped(setting["sigma_0"]))
    if arm.matched is None:
        return recipe
    if scale is None:
        raise ArmError(f"{arm.name} is matched to {arm.matched}: run {arm.matched} as well.")
    if recipe.noise.kind == "mean":
        # Nothing but its limit holds the mean, so that it can reach that energy.
        return noised(recipe, mean_limit=scale, beta=0.0)
    return noised(recipe, sigma_0=scale)


def noised(recipe: Recipe, **changed: object) -> Recipe:
    """Return the recipe with its [noise] changed."""
    return replace(recipe, noise=replace(recipe.noise, **changed))


def modelled(recipe: Recipe, **changed: object) -> Recipe:
    """Return the recipe with its [model] changed."""
    return replace(recipe, model=replace(recipe.model, **changed))


def choose(names: str | None, stage: Stage) -> list[Arm]:
    """Return the arms named "A0,A5" (all of the stage where None), matched ones after theirs.

    Raises ArmError.
    """
    known = {arm.name: arm for arm in ARMS if stage in arm.stages}
    asked = list(known) if names is None else [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in known:
            raise ArmError(
                f"{name!r} is no arm that runs {stage}; there are {', '.join(known)}."
                + (" Others need --tuned." if stage == "frozen" else "")
            )
        needed = known[name].matched
        if needed is not None and needed not in asked:
            raise ArmError(f"{name} is matched to {needed}: name {needed} too.")
    return sorted((known[name] for name in dict.fromkeys(asked)), key=lambda arm: bool(arm.matched))


def _set(recipe: Recipe, setting: Setting) -> Recipe:
    noise = {name: value for name, value in setting.items() if name in ("sigma_0", "beta")}
    rates = {name: value for name, value in setting.items() if name not in noise}
    return replace(noised(recipe, **noise), optimise=replace(recipe.optimise, **rates))


def _snapped(sigma: float) -> float:
    """Return the point of GRID whose third of the (logarithmic) range `sigma` lies in."""
    low, high = RANGES["sigma_0"]
    third = high / low
    return GRID[sum(sigma >= low * third ** (k / len(GRID)) for k in range(1, len(GRID)))]


def _frozen(recipe: Recipe) -> Recipe:
    return modelled(recipe, adapter=Adapter(kind="none"))


def _learned(recipe: Recipe) -> Recipe:
    return noised(recipe, kind="learned")


def _mlp(recipe: Recipe) -> Recipe:
    """S1 with an MLP head: on stored features, noise before a non-linearity (method 1.5)."""
    return noised(modelled(recipe, hidden=256), site="S1", draws=1)


def _tokens(recipe: Recipe) -> Recipe:
    """RINE-like: class tokens of blocks 9 to 12 and an MLP (method 5, head)."""
    return noised(
        modelled(recipe, features="class_tokens", blocks=(9, 10, 11, 12), hidden=256),
        site="S1",
        draws=1,
    )


def _inside(block: int) -> Change:
    return lambda recipe: noised(_learned(recipe), site="S2", block=block, draws=1)


def _augmented(augment: Augment, *, equalise: bool = False) -> Change:
    """Return the change of one rung of the augmentation ladder."""
    return lambda recipe: replace(recipe, augment=augment, equalise=Equalise(is_on=equalise))


def _orthogonal(recipe: Recipe) -> Recipe:
    adapter = replace(recipe.model.adapter, kind="orthogonal", rank=64, dropout=0.0)
    return modelled(recipe, adapter=adapter)


# One view beside the picture itself: each is a pass of the tower over the whole set.
_FLIP = Augment(
    is_on=True, crop=0.0, rescale=(1.0, 1.0),
    blur=0.0, recompress=0.0, noise=0.0, colour=0.0, mask=0.0,
)  # fmt: skip
_JPEG = replace(_FLIP, recompress=Augment().recompress)
_RESIZE = replace(_JPEG, crop=Augment().crop, rescale=Augment().rescale, blur=Augment().blur)
_ALL = Augment(is_on=True)
_TUNED: tuple[Stage, ...] = ("tuned",)

ARMS = (
    Arm(name="A0", question="floor: a linear probe on z", change=_frozen),
    Arm(name="A1", question="LoRA, no noise: the baseline", change=lambda r: r, stages=_TUNED),
    Arm(
        name=METHOD,
        question="the method: learned noise, a bank of 64",
        change=_learned,
        modes=("off", "mean", "mc"),
    ),
    Arm(
        name=GAUSSIAN,
        question="Gaussian noise of A5's energy",
        change=lambda r: noised(r, kind="gaussian"),
        matched=METHOD,
    ),
    Arm(
        name=GAUSSIAN_GRID,
        question="Gaussian noise, s of a 3-point grid",
        change=lambda r: noised(r, kind="gaussian"),
        grid=True,
    ),
    Arm(
        name=MEAN,
        question="a learned mean of A5's energy, sigma = 0: only an adapter?",
        change=lambda r: noised(r, kind="mean"),
        matched=METHOD,
    ),
    Arm(
        name="A4",
        question="two keys: does attention matter?",
        change=lambda r: noised(_learned(r), bank_size=2),
    ),
    Arm(
        name="A4-VPN",
        question="the label is fed, both are tried at test: a leak?",
        change=lambda r: noised(_learned(r), sees_label=True),
        modes=("mc", "off"),
    ),
    Arm(
        name="A4-adv",
        question="the variance works against the head: sign",
        change=lambda r: noised(_learned(r), adversarial=True),
    ),
    Arm(
        name="A6-none", question="MLP head on z, no noise", change=lambda r: modelled(r, hidden=256)
    ),
    Arm(
        name="A6-S1",
        question="A5 before an MLP head: site",
        change=lambda r: _learned(_mlp(r)),
        modes=("off", "mean", "mc"),
    ),
    Arm(
        name="A6-gaussian",
        question="Gaussian noise of A6-S1's energy",
        change=lambda r: noised(_mlp(r), kind="gaussian"),
        matched="A6-S1",
    ),
    Arm(
        name="A6-mean",
        question="a learned mean of A6-S1's energy",
        change=lambda r: noised(_mlp(r), kind="mean"),
        matched="A6-S1",
    ),
    Arm(name="A6-S2-8", question="A5 after block 8: site", change=_inside(8), stages=_TUNED),
    Arm(name="A6-S2-11", question="A5 after block 11: site", change=_inside(11), stages=_TUNED),
    Arm(
        name="A7",
        question="class tokens of blocks 9 to 12, MLP, no noise",
        change=_tokens,
    ),
    Arm(
        name="A7-A5",
        question="class tokens of blocks 9 to 12, MLP, with A5",
        change=lambda r: _learned(_tokens(r)),
        modes=("off", "mean", "mc"),
    ),
    Arm(
        name="A7-gaussian",
        question="Gaussian noise of A7-A5's energy",
        change=lambda r: noised(_tokens(r), kind="gaussian"),
        matched="A7-A5",
    ),
    Arm(
        name="A7-mean",
        question="a learned mean of A7-A5's energy",
        change=lambda r: noised(_tokens(r), kind="mean"),
        matched="A7-A5",
    ),
    Arm(
        name="A8-none",
        question="one law of size and encoding",
        change=_augmented(Augment(), equalise=True),
        stages=_TUNED,
    ),
    Arm(name="A8-flip", question="flips and native crops", change=_augmented(_FLIP), stages=_TUNED),
    Arm(name="A8-jpeg", question="+ JPEG and WebP", change=_augmented(_JPEG), stages=_TUNED),
    Arm(
        name="A8-resize",
        question="+ resizes, blur",
        change=_augmented(_RESIZE),
        stages=_TUNED,
    ),
    Arm(name="A8-all", question="+ noise, colour, masks", change=_augmented(_ALL), stages=_TUNED),
    Arm(
        name="A8-all-equalised",
        question="all of it after one law",
        change=_augmented(_ALL, equalise=True),
        stages=_TUNED,
    ),
    Arm(name="A9", question="orthogonal subspace, no noise", change=_orthogonal, stages=_TUNED),
    Arm(
        name="A9-A5",
        question="orthogonal subspace, with A5",
        change=lambda r: _learned(_orthogonal(r)),
        stages=_TUNED,
    ),
)
"""Every arm, in the order of the table."""

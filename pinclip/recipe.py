"""A recipe: everything that decides what a training run makes, in one TOML file.

    [data]       what is read, how it is split             -> data/
    [equalise]   one law for every image                   -> equalise.py
    [augment]    what is done to training images           -> augment.py
    [model]      what of the tower is tuned, which head    -> model.py, adapters.py
    [noise]      which noise, where, how strong            -> noise.py, losses.py
    [optimise]   steps, rates, averages                    -> train.py

Every value has a default here, so a recipe says what it changes. Unknown keys are refused. Numbers
and symbols are those of docs/method.md.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Block = Annotated[int, Meta(ge=1)]


class RecipeError(Exception):
    """A recipe that cannot be followed; the text says which key, and what is allowed."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of a recipe: frozen, and no key but its own."""


class Data(Part, frozen=True, kw_only=True):
    """Which images. `layout` is a name of data/layouts.py, or "auto"."""

    layout: str = "auto"
    folds: Annotated[int, Meta(ge=0)] = 5
    """Folds of a set whose manifest names none; 0 trains on everything and holds nothing out."""
    unreadable: Share = 0.01
    """Share of the images that may be unreadable before training is refused."""


class Equalise(Part, frozen=True, kw_only=True):
    """One law of size and encoding for both classes (method 5); drawn once for each image."""

    is_on: bool = False
    short_side: tuple[int, int] = (240, 352)
    long_ratio: Positive = 1.8
    quality: tuple[int, int] = (60, 96)


class Augment(Part, frozen=True, kw_only=True):
    """What happens to a training image, the same law for both classes (method 5)."""

    is_on: bool = False
    views: Count = 1
    """Augmented views drawn for each image before training, where activations are cached."""
    flip: Share = 0.5
    crop: Share = 0.5
    """Share of random resized crops; the others are crops at native size."""
    rescale: tuple[float, float] = (0.5, 1.5)
    blur: Share = 0.2
    recompress: Share = 0.7
    noise: Share = 0.1
    colour: Share = 0.3
    mask: Share = 0.2


class Adapter(Part, frozen=True, kw_only=True):
    """What of the tower is tuned: LoRA on q, k, v, an orthogonal subspace, or nothing."""

    kind: Literal["none", "lora", "orthogonal"] = "none"
    blocks: tuple[Block, ...] = (9, 10, 11, 12)
    rank: Count = 8
    """LoRA: rank of B A. Orthogonal: singular directions of W that are free to move."""
    alpha: Positive = 8.0
    """LoRA: gamma = alpha / rank (method 1.5)."""
    dropout: Share = 0.1


class Model(Part, frozen=True, kw_only=True):
    """What the head reads, and its shape."""

    features: Literal["embedding", "class_tokens"] = "class_tokens"
    """embedding: z after the projection (method 1.1). class_tokens: those of `blocks`, joined."""
    blocks: tuple[Block, ...] = (6, 7, 8, 9, 10, 11, 12)
    hidden: Annotated[int, Meta(ge=0)] = 0
    """Width of the head's hidden layer (GELU); 0 is a linear head."""
    dropout: Share = 0.0
    members: Count = 1
    """Heads trained side by side from different seeds, their logits averaged."""
    adapter: Adapter = Adapter()


class Noise(Part, frozen=True, kw_only=True):
    """The noise of the method (1.3, 1.4, 1.5) and what it is compared with (3)."""

    kind: Literal["none", "gaussian", "mean", "learned"] = "none"
    """gaussian: A2, no generator. mean: A3, sigma = 0. learned: A4 and A5."""
    site: Literal["S0", "S1", "S2"] = "S0"
    """S0: the embedding z. S1: what the head reads, before it. S2: tokens after `block`."""
    block: Block = 11
    adversarial: bool = False
    """A4-adv: the gradient into log sigma^2 is reversed, tr Sigma <= d sigma_0^2."""
    sees_label: bool = False
    """A4-VPN, for the ablation only: the label is fed and every class is tried at test."""
    bank: str = "centroids"
    """`centroids` of the training images, or a .npy file (M, 512) of category features."""
    bank_size: Annotated[int, Meta(ge=2)] = 64
    heads: Count = 4
    head_width: Count = 64
    sigma_0: Positive = 0.3
    mean_limit: Positive = 0.5
    """m: |mu| <= m."""
    beta: Annotated[float, Meta(ge=0)] = 0.05
    lambda_0: Annotated[float, Meta(ge=0)] = 1.0
    draws: Count = 4
    warm_up: Annotated[int, Meta(ge=0)] = 100
    """T_warm: steps until the gate g is 1."""


class Optimise(Part, frozen=True, kw_only=True):
    """AdamW with a cosine, gradients clipped, weights averaged (method 1.6)."""

    epochs: Positive = 4.0
    batch: Count = 32
    """Images in one step, over all processes and accumulated parts."""
    accumulate: Count = 1
    rate_adapter: Positive = 2e-4
    rate_noise: Positive = 1e-3
    rate_head: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 0.01
    clip: Positive = 1.0
    average: Share = 0.998
    """Decay of the exponential average whose weights are kept; 0 keeps the last ones."""
    smoothing: Share = 0.05
    head_first: bool = True
    """Fit the head on clean features before anything else moves (LP-FT)."""
    checkpoint_steps: Count = 200


class Recipe(Part, frozen=True, kw_only=True):
    """One training run."""

    name: str
    seed: int = 0
    data: Data = Data()
    equalise: Equalise = Equalise()
    augment: Augment = Augment()
    model: Model = Model()
    noise: Noise = Noise()
    optimise: Optimise = Optimise()


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a TOML file; raises RecipeError."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Recipe)
    except FileNotFoundError:
        raise RecipeError(
            f"{path} does not exist: pinclip/recipes/ holds the named ones."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RecipeError(f"{path} is no recipe: {error}. See docs/training.md.") from None


def digest(recipe: Recipe) -> str:
    """Return the sha256 that names what the recipe decides, defaults included."""
    return hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()

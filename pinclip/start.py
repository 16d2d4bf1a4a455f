"""Where a training starts: what the frozen tower says, the bank, and a head that is fitted first.

    frozen tower --survey--> features (N, D), z (N, d) of every image     once, whatever the fold
         training rows:  mean, scale        -> what the head subtracts and divides by
                         z by class, k-means -> the bank                   method 1.4
                         features, labels    -> the head (LP-FT)           method 1.6

A linear head is fitted by logistic regression, one with a hidden layer by a few epochs of AdamW. Of
the images that are left out nothing is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.optim import AdamW

from . import bank, losses
from .model import PinClip
from .optimise import cosine
from .recipe import RecipeError
from .sampling import mix

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer
    from torch import Tensor

    from .distributed import World
    from .recipe import Recipe
    from .sampling import Sampler
    from .train import Examples

SMALLEST = 1e-6
"""Added to the scale of a feature, which may be the same for every image."""
STRENGTH = 0.003
"""scikit-learn's C of the first linear head, on standardised features."""
HEAD_EPOCHS, HEAD_STEPS = 4, 300
"""How long a head with a hidden layer is trained alone, at least."""
_APART = 2**31  # epochs of the head alone, no number of a later one
BATCH = 64


class Survey(NamedTuple):
    """What the frozen tower says of every image: features (N, D) and, or None, z (N, d)."""

    features: Tensor
    z: Tensor | None


def needs_centroids(how: Recipe) -> bool:
    """Return whether the bank is made of the training images."""
    return how.noise.kind in ("mean", "learned") and how.noise.bank == "centroids"


def make(visual: VisionTransformer, how: Recipe) -> PinClip:
    """Return the model before it has seen an image; a bank of centroids is zero until `begin`.

    Raises RecipeError for a recipe that does not fit the tower or the bank.
    """
    if how.noise.kind not in ("mean", "learned"):
        return PinClip(visual, how, None)
    if needs_centroids(how):
        return PinClip(visual, how, torch.zeros(how.noise.bank_size, visual.proj.shape[1]))
    return PinClip(visual, how, bank.prepare(bank.load_bank(Path(how.noise.bank))))


@torch.no_grad()
def survey(model: PinClip, examples: Examples, world: World) -> Survey:
    """Return features and z of all images, unaugmented, as the untrained model sees them.

    Processes take every n-th batch each. Raises RecipeError where there is no z to make a bank of.
    """
    model.eval()
    count = len(examples.rows)
    features = torch.zeros(count, len(model.head.mean), device=world.device)
    z = None
    if needs_centroids(model.how):
        z = torch.zeros(count, model.visual.proj.shape[1], device=world.device)
    for indices in torch.split(torch.arange(count), BATCH)[world.rank :: world.size]:
        inputs = examples.inputs(indices, epoch=None)
        features[indices] = model.features(inputs)
        if z is not None:
            z[indices] = _embedding(model, inputs)
    world.sum(features)
    return Survey(features, None if z is None else world.sum(z))


def begin(
    model: PinClip, found: Survey, examples: Examples, *, keep: Tensor, sampling: Sampler
) -> None:
    """Give a new model its standardisation, its bank and its first head, of the images `keep`."""
    chosen = keep.to(found.features.device)
    features = found.features[chosen]
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0) + SMALLEST
    model.set_standardisation(mean, scale)
    is_ai = examples.is_ai[keep].cpu().numpy().astype(np.int64)
    if found.z is not None:
        z = found.z[chosen].cpu().numpy()
        how = model.how
        centres = bank.centroids(z, is_ai, size=how.noise.bank_size, seed=how.seed)
        model.set_bank(bank.prepare(centres))
    if not model.how.optimise.head_first:
        return
    if model.head.inner is None:
        _fit_linear(model, (features - mean) / scale, is_ai, examples.weight[keep])
    else:
        _fit_hidden(model, found.features, examples, sampling)


def _fit_linear(model: PinClip, features: Tensor, is_ai: np.ndarray, weight: Tensor) -> None:
    """Every member gets the logistic regression of standardised features, weighted by source."""
    fitted = LogisticRegression(C=STRENGTH, max_iter=500, tol=1e-3)
    share = weight.cpu().numpy() / float(weight.mean())
    fitted.fit(features.cpu().numpy(), is_ai, sample_weight=share)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(fitted.coef_.astype(np.float32)))
        model.head.bias.fill_(float(fitted.intercept_[0]))


def _fit_hidden(model: PinClip, features: Tensor, examples: Examples, sampling: Sampler) -> None:
    """Train the head alone on features in memory, with the batches of the recipe's own sampler."""
    how, head = model.how.optimise, model.head.train()
    adam = AdamW(head.parameters(), lr=how.rate_head, weight_decay=how.weight_decay)
    read = head.standardise(features)
    y = examples.is_ai.to(features.device)
    epochs = max(HEAD_EPOCHS, -(-HEAD_STEPS // sampling.steps))
    total = epochs * sampling.steps
    for epoch in range(epochs):
        for number, batch in enumerate(sampling.epoch(_APART + epoch)):
            done = epoch * sampling.steps + number
            torch.manual_seed(mix(model.how.seed, done, 1))  # of dropout
            adam.param_groups[0]["lr"] = how.rate_head * cosine(done, total)
            adam.zero_grad()
            torch.autograd.backward(losses.clean(head(read[batch]), y[batch], how.smoothing))
            adam.step()


def _embedding(model: PinClip, inputs: object) -> Tensor:
    try:
        return model.embedding(inputs)  # type: ignore[arg-type]
    except ValueError as error:
        raise RecipeError(
            f'noise.bank = "centroids" is made of the tower\'s embedding: {error} Add the last '
            "block to model.blocks, or give a bank as a .npy file."
        ) from None

"""The bank of categorical features that the noise generator attends to (method 1.4).

    a .npy file        load_bank -----+
    training features  centroids -----+--> (M, c) --> prepare --> (M, c), centred, unit rows
    phrases            text_bank -----+                           frozen from then on

Every error names what of the bank is wrong. Knows nothing of the generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from .recipe import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

REAL_MEDIA = ("a camera photograph", "a film photograph", "a scan of a print", "a screenshot")
FAKE_MEDIA = ("a GAN image", "a diffusion model's image", "a 3D rendering", "a face swap")
CONTENTS = (
    *("a person", "a crowd", "an animal", "food"),
    *("a building", "a landscape", "a vehicle", "a household object"),
)
PROMPTS = tuple(
    f"{medium} of {content}" for medium in (*REAL_MEDIA, *FAKE_MEDIA) for content in CONTENTS
)
"""M = 64 phrases, 32 that sound real and 32 that sound made, crossed with content (method 1.4)."""


def load_bank(path: Path) -> Tensor:
    """Return the features of a .npy file, (M, c) float32, as they are; raises RecipeError."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"noise.bank {path} cannot be read ({error}): give a .npy file of shape (M, width), "
            'or bank = "centroids".'
        ) from None
    is_matrix = isinstance(found, np.ndarray) and found.ndim == 2 and len(found) >= 2
    if not is_matrix or not np.issubdtype(found.dtype, np.floating) or not np.isfinite(found).all():
        raise RecipeError(
            f"noise.bank {path} holds {getattr(found, 'shape', type(found).__name__)} "
            f"{getattr(found, 'dtype', '')}: it must be finite floats, (M, width) with M >= 2."
        )
    return torch.from_numpy(np.ascontiguousarray(found, np.float32))


def centroids(
    features: NDArray[np.floating], classes: NDArray[np.integer], *, size: int, seed: int
) -> Tensor:
    """Return k-means centres of each class's features, (size, d), shared out evenly.

    features (N, d) of TRAINING images only, or the bank has seen what it is tested on (method,
    warning 2); classes (N,). Raises RecipeError where a class has fewer images than centres.
    """
    names = np.unique(classes)
    shares = [size // len(names) + (i < size % len(names)) for i in range(len(names))]
    members = [np.asarray(features[classes == name], np.float32) for name in names]
    for name, share, rows in zip(names, shares, members, strict=True):
        if len(rows) < share:
            raise RecipeError(
                f"noise.bank_size {size} asks for {share} centroids of class {name}, which has "
                f"{len(rows)} training images: lower bank_size or add images."
            )
    centres = [
        KMeans(share, n_init=1, random_state=seed).fit(rows).cluster_centers_
        for share, rows in zip(shares, members, strict=True)
    ]
    return torch.from_numpy(np.concatenate(centres).astype(np.float32))


def text_bank(prompts: Sequence[str], *, model: str, checkpoint: Path) -> Tensor:
    """Return open_clip's text features of phrases, (M, d) float32, such as of PROMPTS.

    `model` is open_clip's name, `checkpoint` the user's own .safetensors of the whole CLIP (the
    shipped weights have no text tower). Nothing is downloaded. Raises RecipeError.
    """
    if checkpoint.suffix != ".safetensors" or not checkpoint.is_file():
        raise RecipeError(
            f"{checkpoint} is no .safetensors file of a CLIP with a text tower: other formats may "
            "run code when they are read, so convert it first."
        )
    import open_clip  # seconds to load, and only this function needs it

    clip = open_clip.create_model(model, pretrained=str(checkpoint)).eval()
    with torch.no_grad():
        features: Tensor = clip.encode_text(open_clip.get_tokenizer(model)(list(prompts)))
    return features.float()


def prepare(bank: Tensor) -> Tensor:
    """Return the bank less its mean row, rows of unit norm (method 1.4): (M, c) -> (M, c)."""
    return functional.normalize(bank - bank.mean(dim=0), dim=1)


def effective_rank(matrix: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values (Roy and Vetterli, 2007).

    Between 1 and min(shape): how many directions of a bank, or of fused features, really count.
    """
    values = torch.linalg.svdvals(matrix.double())
    return float(torch.special.entr(values / values.sum()).sum().exp())

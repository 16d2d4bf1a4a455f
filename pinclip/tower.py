"""The model in torch and open_clip: for GPUs, for training, and as the measure of graph.py.

The same weights and the same outputs as the graph: pools of the tokens after the blocks that
meta.json names, each layer-normed, joined, then the head. The tower is open_clip's own
VisionTransformer, filled from our tensors; nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn
from torch.nn import functional

from .weights import EMBED, HEADS, LAYERS, PATCH, SIZE, WIDTH, Base, Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class TorchTower:
    """The tower and the head on one device. `forward` is for one thread."""

    engine = "torch"

    def __init__(
        self,
        base: Base,
        blocks: Sequence[int],
        head: Head | None,
        *,
        pools: Sequence[str] = ("class",),
        precision: str,
        device: str,
    ) -> None:
        self.precision = precision
        self.device = device
        self._features = Features(image_tower(base), blocks, pools).to(device)
        self._head = None if head is None else TorchHead(head).to(device)

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224) -> (B, K), or the features (B, D) where there is no head."""
        images = torch.from_numpy(batch).to(self.device)
        is_mixed = self.precision == "bfloat16"
        with torch.inference_mode():
            with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=is_mixed):
                features = self._features(images)
            found = features if self._head is None else self._head(features)
        outputs: NDArray[np.float32] = found.cpu().numpy()
        return outputs


class Features(nn.Module):
    """The tower, and what the head reads of it: (B, 3, S, S) -> (B, D), float32."""

    def __init__(
        self, visual: VisionTransformer, blocks: Sequence[int], pools: Sequence[str] = ("class",)
    ) -> None:
        super().__init__()
        self.visual = visual
        self._indices = [block - 1 for block in blocks]
        self._pools = tuple(pools)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features: pool by pool, then block by block."""
        found = self.visual.forward_intermediates(
            images,
            indices=self._indices,
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        classes = found["image_intermediates_prefix"]  # of each block (B, 1, W)
        patches = found["image_intermediates"]  # (B, T - 1, W)
        parts = [
            _pool(first, rest, pool)
            for pool in self._pools
            for first, rest in zip(classes, patches, strict=True)
        ]
        return torch.cat([functional.layer_norm(part, part.shape[-1:]) for part in parts], dim=1)


class TorchHead(nn.Module):
    """The head: (B, D) -> (B, K). Its hidden layer, if any, adds to the first output alone."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.linear = _linear(head.weight, head.bias)
        self.hidden = self.output = None
        if head.hidden is not None:
            self.hidden = _linear(head.hidden.weight, head.hidden.bias)
            self.output = _frozen(head.hidden.output)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the raw outputs: the score's logit, then one for each slice."""
        outputs: torch.Tensor = self.linear(features)
        if self.hidden is None or self.output is None:
            return outputs
        more = functional.gelu(self.hidden(features)) @ self.output  # (B,)
        return torch.cat([outputs[:, :1] + more[:, None], outputs[:, 1:]], dim=1)


def _pool(first: torch.Tensor, rest: torch.Tensor, pool: str) -> torch.Tensor:
    """Class token (B, 1, W) and patches (B, T - 1, W) -> (B, W)."""
    if pool == "class":
        return first[:, 0].float()
    # Over the patches of one image, which are all there are: divided by their number.
    rest = rest.float()
    return rest.mean(dim=1) if pool == "mean" else rest.std(dim=1, correction=0)


def has_bfloat16(device: str) -> bool:
    """Return whether the device runs bfloat16; any CPU does, if slowly."""
    return device == "cpu" or bool(torch.cuda.is_bf16_supported())


def image_tower(base: Base) -> VisionTransformer:
    """Return open_clip's CLIP ViT-B/16 image tower with our weights, float32, for inference.

    Built without storage and then given the tensors, so nothing is initialised in vain.
    """
    with torch.device("meta"):
        visual = VisionTransformer(
            image_size=SIZE,
            patch_size=PATCH,
            width=WIDTH,
            layers=LAYERS,
            heads=HEADS,
            mlp_ratio=4.0,
            output_dim=EMBED,
            act_layer=QuickGELU,
        )
    state = {name: torch.from_numpy(base.tensor(name)) for name in base.names()}
    visual.load_state_dict(state, strict=True, assign=True)
    return visual.requires_grad_(False).eval()


def _linear(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = _frozen(weight), _frozen(bias)
    return linear


def _frozen(values: NDArray[np.float32]) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values), requires_grad=False)

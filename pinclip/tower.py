"""The model in torch and open_clip: for GPUs, for training, and as the measure of graph.py.

The same weights and the same outputs as the graph: class tokens after the blocks that meta.json
names, each layer-normed, joined, times the head. The tower is open_clip's own VisionTransformer,
filled from our tensors; nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch.nn import functional

from .weights import EMBED, HEADS, LAYERS, PATCH, SIZE, WIDTH, Base

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Head = tuple[NDArray[np.float32], NDArray[np.float32]]


class TorchTower:
    """The tower and the head on one device. `forward` is for one thread."""

    engine = "torch"

    def __init__(
        self,
        base: Base,
        blocks: Sequence[int],
        head: Head | None,
        *,
        precision: str,
        device: str,
    ) -> None:
        self.precision = precision
        self.device = device
        self._blocks = [block - 1 for block in blocks]
        self._visual = image_tower(base).to(device)
        self._head = None
        if head is not None:
            self._head = tuple(torch.from_numpy(part).to(device) for part in head)

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224) -> (B, K), or the features (B, D) where there is no head."""
        images = torch.from_numpy(batch).to(self.device)
        is_mixed = self.precision == "bfloat16"
        with torch.inference_mode():
            with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=is_mixed):
                features = self._features(images)
            if self._head is not None:
                features = functional.linear(features, *self._head)
        outputs: NDArray[np.float32] = features.cpu().numpy()
        return outputs

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) -> (B, 768 * len(blocks)), float32."""
        found = self._visual.forward_intermediates(
            images,
            indices=self._blocks,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        classes = [token[:, 0].float() for token in found["image_intermediates_prefix"]]
        return torch.cat([functional.layer_norm(token, (WIDTH,)) for token in classes], dim=1)


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

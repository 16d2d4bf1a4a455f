"""The model in torch and open_clip: for GPUs, for training, and as the measure of graph.py.

The same weights and the same outputs as the graph: class tokens after the blocks that meta.json
names, each layer-normed, joined, then the head. The tower is open_clip's own VisionTransformer,
filled from our tensors; nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn
from torch.nn import functional

from .weights import EMBED, HEADS, LAYERS, PATCH, SIZE, WIDTH, Base, Head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class TorchTower:
    """The tower and the head on one device. `forward` is for one thread.

    `compiler` is a backend of torch.compile; None runs it as it is. `why_not_compiled` says what
    failed where it was to be compiled and is not; None elsewhere.
    """

    engine = "torch"

    def __init__(
        self,
        base: Base,
        blocks: Sequence[int],
        head: Head | None,
        *,
        precision: str,
        device: str,
        compiler: str | Callable[..., Any] | None = None,
    ) -> None:
        self.precision = precision
        self.device = device
        self._is_cuda = device.startswith("cuda")
        self._features: Any = Features(image_tower(base), blocks).to(device)
        self._head = nn.Identity() if head is None else TorchHead(head).to(device)
        self.why_not_compiled = None if compiler is None else self._compile(compiler)

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224) -> (B, K), or the features (B, D) where there is no head."""
        return self.forward_both(batch)[0]

    def forward_both(
        self, batch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B, 3, 224, 224) -> outputs (B, K), and the features (B, D) that the head read."""
        is_mixed = self.precision == "bfloat16"
        images = self._upload(torch.from_numpy(batch))
        with torch.inference_mode():
            with torch.autocast(images.device.type, torch.bfloat16, enabled=is_mixed):
                features = self._features(images)
            found = self._head(features)  # small, and a logit in bfloat16 has 8 bits
        return found.cpu().numpy(), features.cpu().numpy()

    def _upload(self, images: torch.Tensor) -> torch.Tensor:
        # From pinned memory the copy goes by itself, while the launches are being prepared.
        return (images.pin_memory() if self._is_cuda else images).to(self.device, non_blocking=True)

    def _compile(self, compiler: str | Callable[..., Any]) -> str | None:
        """Compile now for any batch, or say why not: a machine may have no C compiler."""
        plain = self._features
        self._features = torch.compile(plain, backend=compiler, dynamic=True, fullgraph=True)
        try:
            for size in (2, 1):  # torch makes one graph for 2 and more, and another for 1
                self.forward(np.zeros((size, 3, SIZE, SIZE), np.float32))
        except RuntimeError as error:
            self._features = plain
            return " ".join(str(error).partition("\n\n")[0].split())
        return None


class Features(nn.Module):
    """The tower, and what the head reads of it: (B, 3, S, S) -> (B, D), float32."""

    def __init__(self, visual: VisionTransformer, blocks: Sequence[int]) -> None:
        super().__init__()
        self.visual: Any = visual
        self._blocks = tuple(blocks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, block by block."""
        tokens, found = self.visual._embeds(images), []
        for number in range(1, self._blocks[-1] + 1):
            block = self.visual.transformer.resblocks[number - 1]
            tokens = class_only(block, tokens) if number == self._blocks[-1] else block(tokens)
            if number in self._blocks:
                found.append(functional.layer_norm(tokens[:, 0].float(), tokens.shape[-1:]))
        return torch.cat(found, dim=1)


def class_only(block: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Run a block for its class token alone, (B, 1, width): a sixth of the work, same result."""
    normed = block.ln_1(tokens)
    attended = block.attn(normed[:, :1], normed, normed, need_weights=False)[0]
    between = tokens[:, :1] + block.ls_1(attended)
    found: torch.Tensor = between + block.ls_2(block.mlp(block.ln_2(between)))
    return found


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

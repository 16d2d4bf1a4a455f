"""The model as an OpenVINO graph, built from the safetensors; no torch, no ONNX file.

    images (B, 3, 224, 224)
      -> patches + class token + positions -> ln_pre -> 12 blocks        CLIP ViT-B/16
      -> pools of the tokens after the blocks that meta.json names, layer-normed, joined
      -> head (K, D) and its hidden layer, if any                        or none: features
    outputs (B, K)                                                       (B, D)

Linear weights stay int8 in the graph and are widened where they are used: the same numbers as
a float32 graph (activations are never quantised), half of its memory. Those that an adapter
tuned are float32 constants, the sum of both (0011). There is no compile cache:
a start takes about a second, and a cache would save a quarter of it for 87 MB of disk and memory.
Knows nothing of images, scores or thresholds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import openvino.opset15 as op

from .weights import HEADS, PATCH, SIZE, TOKENS, WIDTH, Base, Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EPSILON = 1e-5
QUICK_GELU = 1.702
"""QuickGELU is x * sigmoid(1.702 x): swish with this beta."""
HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoTower:
    """The compiled graph. `forward` is for one thread; results are the caller's own."""

    engine = "openvino"
    device = "cpu"

    def __init__(
        self,
        base: Base,
        blocks: Sequence[int],
        head: Head | None,
        *,
        pools: Sequence[str] = ("class",),
        precision: str,
    ) -> None:
        self.precision = precision
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            # 0: never quantise activations, which would be faster on CPUs with VNNI, but not exact.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        model = build(base, blocks, head, pools=pools)
        compiled = ov.Core().compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224) -> (B, K), or the features (B, D) where there is no head."""
        result = self._request.infer([ov.Tensor(batch, shared_memory=True)], share_outputs=True)
        outputs: NDArray[np.float32] = result[0].astype(np.float32, copy=True)
        return outputs


def has_bfloat16() -> bool:
    """Return whether OpenVINO can run bfloat16 on this CPU (fast is another matter)."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def build(
    base: Base,
    blocks: Sequence[int],
    head: Head | None,
    *,
    pools: Sequence[str] = ("class",),
) -> ov.Model:
    """Return the graph; `blocks` count from 1 and ascend, `pools` are some of weights.POOLS."""
    images = op.parameter([-1, 3, SIZE, SIZE], np.float32, name="images")
    tokens = _embed(images, base)  # (B, T, 768)
    read: dict[str, list[ov.Node]] = {pool: [] for pool in pools}
    for layer in range(max(blocks)):
        tokens = _block(tokens, base, f"transformer.resblocks.{layer}.")
        if layer + 1 in blocks:
            for pool, found in read.items():
                found.append(_normalise(_pool(tokens, pool)))
    outputs = op.concat([part for found in read.values() for part in found], 1)  # (B, D)
    if head is not None:
        outputs = _answer(outputs, head)
    return ov.Model([outputs], [images], "pinclip")


def _embed(images: ov.Node, base: Base) -> ov.Node:
    kernel = _floats(base.tensor("conv1.weight"))
    stride = [PATCH, PATCH]
    patches = op.convolution(images, kernel, stride, [0, 0], [0, 0], [1, 1])
    patches = op.transpose(op.reshape(patches, _ints(0, WIDTH, TOKENS - 1), True), _ints(0, 2, 1))
    count = op.gather(op.shape_of(images, "i64"), _ints(0), _ints(0, scalar=True))
    shape = op.concat([count, _ints(1, WIDTH)], 0)
    first = op.broadcast(_floats(base.tensor("class_embedding").reshape(1, 1, WIDTH)), shape)
    tokens = op.add(op.concat([first, patches], 1), _floats(base.tensor("positional_embedding")))
    return _layer_norm(tokens, base, "ln_pre")


def _block(tokens: ov.Node, base: Base, at: str) -> ov.Node:
    """Return the tokens after one pre-norm transformer block."""
    joined = _linear(_layer_norm(tokens, base, f"{at}ln_1"), base, f"{at}attn.in_proj_")
    query, key, value = op.split(joined, _ints(2, scalar=True), 3).outputs()
    mixed = op.scaled_dot_product_attention(
        _split_heads(query), _split_heads(key), _split_heads(value), causal=False
    )
    mixed = op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, TOKENS, WIDTH), True)
    tokens = op.add(tokens, _linear(mixed, base, f"{at}attn.out_proj."))
    hidden = _linear(_layer_norm(tokens, base, f"{at}ln_2"), base, f"{at}mlp.c_fc.")
    hidden = op.swish(hidden, op.constant(np.float32(QUICK_GELU)))
    return op.add(tokens, _linear(hidden, base, f"{at}mlp.c_proj."))


def _pool(tokens: ov.Node, pool: str) -> ov.Node:
    """(B, T, 768) -> (B, 768): the class token, or mean or standard deviation of the patches."""
    if pool == "class":
        return op.gather(tokens, _ints(0, scalar=True), _ints(1, scalar=True))
    patches = op.slice(tokens, _ints(1), _ints(TOKENS), _ints(1), _ints(1))
    if pool == "mean":
        return op.reduce_mean(patches, _ints(1))
    away = op.subtract(patches, op.reduce_mean(patches, _ints(1), True))
    return op.sqrt(op.reduce_mean(op.multiply(away, away), _ints(1)))


def _answer(features: ov.Node, head: Head) -> ov.Node:
    """(B, D) -> (B, K)."""
    outputs = _affine(features, head.weight, head.bias)
    if head.hidden is None:
        return outputs
    hidden = op.gelu(_affine(features, head.hidden.weight, head.hidden.bias), "erf")
    # Rows of zeros below the first: only the score reads the hidden layer.
    rows = np.zeros((len(head.bias), len(head.hidden.output)), np.float32)
    rows[0] = head.hidden.output
    return op.add(outputs, op.matmul(hidden, _floats(rows), False, True))


def _affine(inputs: ov.Node, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ov.Node:
    return op.add(op.matmul(inputs, _floats(weight), False, True), _floats(bias))


def _split_heads(tokens: Any) -> ov.Node:
    """(B, T, 768) -> (B, heads, T, 64)."""
    shape = _ints(0, TOKENS, HEADS, WIDTH // HEADS)
    return op.transpose(op.reshape(tokens, shape, True), _ints(0, 2, 1, 3))


def _linear(inputs: ov.Node, base: Base, at: str) -> ov.Node:
    weight = _weight(base, f"{at}weight")
    return op.add(op.matmul(inputs, weight, False, True), _floats(base.tensor(f"{at}bias")))


def _weight(base: Base, name: str) -> ov.Node:
    if base.is_tuned(name):
        return _floats(base.tensor(name))
    values, scale = base.quantised(name)
    return op.multiply(op.convert(op.constant(values), "f32"), _floats(scale))


def _layer_norm(inputs: ov.Node, base: Base, at: str) -> ov.Node:
    scaled = op.multiply(_normalise(inputs), _floats(base.tensor(f"{at}.weight")))
    return op.add(scaled, _floats(base.tensor(f"{at}.bias")))


def _normalise(inputs: ov.Node) -> ov.Node:
    return op.mvn(inputs, _ints(-1), True, EPSILON, "INSIDE_SQRT")


def _floats(values: NDArray[np.float32]) -> ov.Node:
    return op.constant(np.ascontiguousarray(values, np.float32))


def _ints(*values: int, scalar: bool = False) -> ov.Node:
    return op.constant(np.array(values[0] if scalar else values, np.int64))

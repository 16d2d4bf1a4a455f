"""The model as an OpenVINO graph, built from the safetensors; no torch, no ONNX file.

    images (B, 3, 224, 224)
      -> patches + class token + positions -> ln_pre -> 12 blocks        CLIP ViT-B/16
      -> class tokens after the blocks that meta.json names, layer-normed, joined
           = features (B, D)
      -> head (K, D) and its hidden layer, if any                        or no head
    outputs (B, K), features (B, D)                                      features alone

Linear weights stay int8 in the graph and are widened where they are used: the same numbers as
a float32 graph, half of its memory. Those that an adapter tuned are float32 constants, the sum of
both (0011). Where the tower brings ranges for what enters a layer (int8.py), both are rounded to 8
bits and the plugin multiplies integers; nowhere else. There is no compile cache: it would save an
eighth of the CPU time of a start, 1.5 s, for 100 MB of disk and as much memory (0013).
Knows nothing of images, scores or thresholds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import openvino.opset15 as op

from .weights import HEADS, PATCH, SIZE, TOKENS, WIDTH, Base, Head, Levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EPSILON = 1e-5
QUICK_GELU = 1.702
"""QuickGELU is x * sigmoid(1.702 x): swish with this beta."""
HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""Number format of what is not rounded to 8 bits, by precision."""
QUERY = (0, WIDTH)
"""Rows of the joined weight of q, k and v that make the queries."""


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
        precision: str,
    ) -> None:
        self.precision = precision
        self._request = compiled(build(base, blocks, head), precision).create_infer_request()

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, 224, 224) -> (B, K), or the features (B, D) where there is no head."""
        return self._infer(batch)[0]

    def forward_both(
        self, batch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B, 3, 224, 224) -> outputs (B, K), and the features (B, D) that the head read."""
        outputs, features = self._infer(batch)
        return outputs, features

    def _infer(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found = self._request.infer([ov.Tensor(batch, shared_memory=True)], share_outputs=True)
        return [found[at].astype(np.float32, copy=True) for at in range(len(found))]


def compiled(model: ov.Model, precision: str) -> ov.CompiledModel:
    """Return the graph as it runs on this CPU."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        # 0: never round activations by ranges that nobody measured; it would be on with VNNI.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    return _core().compile_model(model, "CPU", settings)


def has_bfloat16() -> bool:
    """Return whether OpenVINO can run bfloat16 on this CPU (fast is another matter)."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> ov.Core:
    """Return the one Core of this process, which lives as long as it does.

    Its CPU plugin gives the thread that loads it a stack for signals, and takes the memory back
    when it goes. Of two in turn, the second gives the thread back the first one's, which is gone
    by then: the next signal, such as SIGTERM, ends the process with SIGSEGV (OpenVINO 2026.4).
    """
    return ov.Core()


def build(base: Base, blocks: Sequence[int], head: Head | None) -> ov.Model:
    """Return the graph: images to outputs and features, or to features alone without a head.

    `blocks` count from 1 and ascend.
    """
    images = op.parameter([-1, 3, SIZE, SIZE], np.float32, name="images")
    tokens = _embed(images, base)  # (B, T, 768)
    found = []
    for block in range(1, blocks[-1] + 1):
        run = _class_only if block == blocks[-1] else _whole
        tokens = run(tokens, base, f"transformer.resblocks.{block - 1}.")
        if block in blocks:
            found.append(
                _normalise(op.gather(tokens, _ints(0, scalar=True), _ints(1, scalar=True)))
            )
    features = op.concat(found, 1)  # (B, D)
    results = [features] if head is None else [_answer(features, head), features]
    return ov.Model(results, [images], "pinclip")


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


def _whole(tokens: ov.Node, base: Base, at: str) -> ov.Node:
    """Return the tokens after one pre-norm transformer block, (B, T, 768)."""
    joined = _linear(_layer_norm(tokens, base, f"{at}ln_1"), base, f"{at}attn.in_proj_")
    query, key, value = op.split(joined, _ints(2, scalar=True), 3).outputs()
    return _after(tokens, _attend(query, key, value), base, at)


def _class_only(tokens: ov.Node, base: Base, at: str) -> ov.Node:
    """Return the class token after the block, (B, 1, 768): a sixth of the work, the same result."""
    normed = _layer_norm(tokens, base, f"{at}ln_1")
    query = _linear(_first(normed), base, f"{at}attn.in_proj_", rows=QUERY)
    others = _linear(normed, base, f"{at}attn.in_proj_", rows=(WIDTH, 3 * WIDTH))
    key, value = op.split(others, _ints(2, scalar=True), 2).outputs()
    return _after(_first(tokens), _attend(query, key, value), base, at)


def _attend(query: Any, key: Any, value: Any) -> ov.Node:
    """Queries (B, Q, 768), keys and values (B, T, 768) -> (B, Q, 768)."""
    mixed = op.scaled_dot_product_attention(
        _split_heads(query), _split_heads(key), _split_heads(value), causal=False
    )
    return op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, WIDTH), True)


def _after(tokens: ov.Node, mixed: ov.Node, base: Base, at: str) -> ov.Node:
    """Return the tokens after the block of what was attended to: output projection, then MLP."""
    tokens = op.add(tokens, _linear(mixed, base, f"{at}attn.out_proj."))
    hidden = _linear(_layer_norm(tokens, base, f"{at}ln_2"), base, f"{at}mlp.c_fc.")
    hidden = op.swish(hidden, op.constant(np.float32(QUICK_GELU)))
    return op.add(tokens, _linear(hidden, base, f"{at}mlp.c_proj."))


def _first(tokens: ov.Node) -> ov.Node:
    """(B, T, 768) -> (B, 1, 768): the class token."""
    return op.slice(tokens, _ints(0), _ints(1), _ints(1), _ints(1))


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
    shape = _ints(0, 0, HEADS, WIDTH // HEADS)
    return op.transpose(op.reshape(tokens, shape, True), _ints(0, 2, 1, 3))


def _linear(
    inputs: ov.Node, base: Base, at: str, *, rows: tuple[int, int] | None = None
) -> ov.Node:
    """(B, Q, in) -> (B, Q, out); `rows`: only those of the outputs, from one up to another."""
    kept = slice(*rows) if rows else slice(None)
    layer = at.rstrip("._")
    levels = base.levels(layer)
    weight = _weight(base, f"{at}weight", kept, levels)
    if levels is not None:
        inputs = _eight_bits(inputs, levels)
    product = op.matmul(inputs, weight, False, True)
    product.set_friendly_name(f"{layer}.query" if rows == QUERY else layer)
    return op.add(product, _floats(base.tensor(f"{at}bias")[kept]))


def _weight(base: Base, name: str, kept: slice, levels: Levels | None) -> ov.Node:
    """Return a weight: int8 and a scale, but float where it is tuned and its inputs are float."""
    if levels is not None:
        values, scale = _rounded((base.tensor(name) * levels.smooth)[kept])
    elif base.is_tuned(name):
        return _floats(base.tensor(name)[kept])
    else:
        stored, scales = base.quantised(name)
        values, scale = stored[kept], scales[kept]
    return op.multiply(op.convert(op.constant(values), "f32"), _floats(scale))


def _rounded(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(out, in) -> int8 (out, in), scales (out, 1)."""
    scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.float32(1e-12)) / 127
    return np.round(weight / scale).astype(np.int8), scale


def _eight_bits(inputs: ov.Node, levels: Levels) -> ov.Node:
    """Round to 256 steps: the plugin sees it, and multiplies 8-bit numbers."""
    low, high = (_floats(end) for end in levels.range)
    smoothed = op.multiply(inputs, _floats(np.reciprocal(levels.smooth)))
    return op.fake_quantize(smoothed, low, high, low, high, 256)


def _layer_norm(inputs: ov.Node, base: Base, at: str) -> ov.Node:
    scaled = op.multiply(_normalise(inputs), _floats(base.tensor(f"{at}.weight")))
    return op.add(scaled, _floats(base.tensor(f"{at}.bias")))


def _normalise(inputs: ov.Node) -> ov.Node:
    return op.mvn(inputs, _ints(-1), True, EPSILON, "INSIDE_SQRT")


def _floats(values: NDArray[np.float32]) -> ov.Node:
    return op.constant(np.ascontiguousarray(values, np.float32))


def _ints(*values: int, scalar: bool = False) -> ov.Node:
    return op.constant(np.array(values[0] if scalar else values, np.int64))

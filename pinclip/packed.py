"""Makes an exported graph small without changing a number: `pinclip export --small`.

    float32 constant --made from int8 and scales--> int8 -> Cast -> Mul by the scales
                     --the same as float16 -------> float16 -> Cast
                     --anything else -------------> as it is

The weights ship in 8 and 16 bits (0013), so most constants are a quarter or half of what torch
writes. Runtimes widen them, when they load the file or where they are used, and compute in float32:
the outputs are those of the large one. Not DequantizeLinear: onnxruntime fuses that with the
product after it on CPUs, in 8 bits, and logits change by 0.026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .weights import LINEAR

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from .weights import Base

    Quantised = tuple[NDArray[np.int8], NDArray[np.float32]]

SMALLEST = 1000
"""Numbers of the smallest constant that is worth a node."""


def pack(model: ir.Model, base: Base) -> None:
    """Store the constants of `model`, which was exported from `base`, in fewer bits."""
    graph = model.graph
    known = _by_content(base)
    first = graph[0]
    for value in list(graph.initializers.values()):
        nodes = _nodes(value, known)
        if nodes:
            packed = nodes[-1].outputs[0]
            packed.shape, packed.type = value.shape, value.type
            for node in nodes:
                for stored in node.inputs:
                    if stored is not None and stored.const_value is not None:
                        graph.register_initializer(stored)
            graph.insert_before(first, nodes)
            del graph.initializers[str(value.name)]
            value.replace_all_uses_with(packed)


def _by_content(base: Base) -> dict[bytes, Quantised]:
    """Return int8 and scales by the float32 bytes they make; exporters rename, and transpose."""
    found: dict[bytes, Quantised] = {}
    for layer in LINEAR:
        name = f"{layer}_weight" if layer.endswith("in_proj") else f"{layer}.weight"
        if not base.is_tuned(name):
            values, scale = base.quantised(name)
            weight = base.tensor(name)
            found[weight.tobytes()] = values, scale
            found[weight.T.tobytes()] = values.T, scale.T
    return found


def _nodes(value: ir.Value, known: dict[bytes, Quantised]) -> list[ir.Node]:
    """Return the nodes that make the constant from fewer bits; none where that is not possible."""
    import onnx_ir as ir

    if value.const_value is None or value.dtype != ir.DataType.FLOAT:
        return []
    numbers = value.const_value.numpy()
    if numbers.size < SMALLEST:
        return []
    quantised = known.get(numbers.tobytes())
    if quantised is not None:
        values, scale = quantised
        stored = _constant(f"{value.name}.int8", values)
        cast = ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT})
        by = _constant(f"{value.name}.scale", scale)
        return [cast, ir.node("Mul", [cast.outputs[0], by])]
    half = numbers.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), numbers):
        return []
    stored = _constant(f"{value.name}.float16", half)
    return [ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT})]


def _constant(name: str, array: NDArray[np.generic]) -> ir.Value:
    import onnx_ir as ir

    tensor = ir.tensor(np.ascontiguousarray(array))
    return ir.Value(
        name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype)
    )

"""Int8 ONNX graphs: matrix products of int8 weights and dynamically quantised activations.

ONNX Runtime's own dynamic quantisation has one scale for all activations of a product: one outlier
makes every token coarser, and an output depends on the other rows of the batch. Here each token has
a scale of its own, as in LLM.int8() (Dettmers et al., 2022, arXiv:2208.07339, "vector-wise") and in
CTranslate2.

Weights are int8, activations uint8. CPUs without VNNI add two products in 16 bits, which saturate
at 32,767; to avoid that with uint8 weights takes a third longer. Activations therefore end at 95 to
either side of their zero point 96, not at 127 and 128: as long as two neighbouring weights are not
above 171 together nothing saturates, and beyond that only next to a row's largest values. A weight
with many such pairs is uint8. With VNNI nothing saturates, and both take the same time.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from onnx.helper import make_node, make_opsetid

_LARGEST_WEIGHT = 127
_LARGEST_ACTIVATION = 95
_ZERO_POINT = 96
_WEIGHT_ZERO_POINT = 128
_LARGEST_PAIR = 32_767 // (_ZERO_POINT + _LARGEST_ACTIVATION)
_PAIRS_ABOVE = 0.01
"""The share of larger pairs from which on a weight is uint8."""
_DOMAIN = "com.microsoft"
"""Of ONNX Runtime's own operators."""
_MAXIMA, _SCALED, _QUANTIZED = "rows_largest", "rows_scaled", "rows_quantized"


def quantize(model: ModelProto, keep: Iterable[str]) -> ModelProto:
    """Quantise the products of a graph with constant weights.

    Weights are quantised by output channel now; activations by row at run time.

    Args:
        model: a graph without branches, with weights as initialisers; it is not changed.
        keep: regular expressions of names of products that stay in full precision.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    quantized_activations: set[str] = set()
    tensors: dict[str, NDArray[Any]] = {}
    for node in graph.node:
        if (
            node.op_type != "MatMul"
            or node.input[1] not in weights
            or any(re.search(pattern, node.name) for pattern in keep)
        ):
            nodes.append(node)
            continue
        activations, weight = node.input
        if activations not in quantized_activations:
            nodes += _quantize_rows(activations)
            quantized_activations.add(activations)
        quantized, scale = _quantize_columns(numpy_helper.to_array(weights[weight]))
        tensors |= {f"{weight}_quantized": quantized, f"{weight}_scale": scale}
        nodes += _product(node, weight, unsigned=quantized.dtype == np.uint8)
    if quantized_activations:
        tensors |= {
            "row_scale": np.array(1 / _LARGEST_ACTIVATION, np.float32),
            "zero_point": np.array(_ZERO_POINT, np.uint8),
            "weight_zero_point": np.array(_WEIGHT_ZERO_POINT, np.uint8),
            "last_axis": np.array([-1], np.int64),
        }
        result.opset_import.append(make_opsetid(_DOMAIN, 1))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in tensors.items()
    )
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    return result


def _quantize_columns(weight: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """A weight in eight bits, and the scale of each of its columns."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / _LARGEST_WEIGHT
    steps = np.rint(weight / scale)
    pairs = np.abs(np.add.reduceat(steps, range(0, len(steps), 2)))
    if (pairs > _LARGEST_PAIR).mean() > _PAIRS_ABOVE:
        return (steps + _WEIGHT_ZERO_POINT).astype(np.uint8), scale.astype(np.float32)
    return steps.astype(np.int8), scale.astype(np.float32)


def _quantize_rows(activations: str) -> list[NodeProto]:
    """Nodes for the largest magnitude of each row, and for the quantised rows divided by it."""
    maxima, scaled, quantized = (f"{activations}_{name}" for name in (_MAXIMA, _SCALED, _QUANTIZED))
    return [
        make_node("Abs", [activations], [f"{maxima}_abs"]),
        make_node("ReduceMax", [f"{maxima}_abs", "last_axis"], [maxima]),
        # a row of zeros gives NaN, which becomes some integer; the product with 0 is 0 all the same
        make_node("Div", [activations, maxima], [scaled]),
        make_node("QuantizeLinear", [scaled, "row_scale", "zero_point"], [quantized]),
    ]


def _product(node: NodeProto, weight: str, *, unsigned: bool) -> list[NodeProto]:
    """Nodes that multiply the results of `_quantize_rows` and `_quantize_columns`."""
    activations, out = node.input[0], node.output[0]
    inputs = [f"{activations}_{_QUANTIZED}", f"{weight}_quantized", "row_scale", f"{weight}_scale"]
    return [
        make_node(
            "MatMulIntegerToFloat",
            [*inputs, "zero_point", "weight_zero_point" if unsigned else ""],
            [f"{out}_of_unit_rows"],
            node.name,
            domain=_DOMAIN,
        ),
        make_node("Mul", [f"{out}_of_unit_rows", f"{activations}_{_MAXIMA}"], [out]),
    ]

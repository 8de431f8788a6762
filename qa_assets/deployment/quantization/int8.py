"""Eight-bit ONNX graphs: matrix products of int8 weights and of activations that come.

ONNX Runtime's own dynamic quantisation gives all activations of a product one scale, so that one
outlier coarsens every token, and an answer depends on its neighbours in the batch. Here each row, a
token, has its own, as in LLM.int8() (Dettmers et al., 2022, arXiv:2208.07339, "vector-wise") and in
CTranslate2.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

_LARGEST = 127
_ZERO_POINT = 128
"""Of activations, unsigned since that is what CPUs multiply int8 weights with."""
_DOMAIN = "com.microsoft"
"""Of ONNX Runtime's own operators."""
_ROW, _SCALED, _EIGHT_BITS = "rows_largest", "rows_scaled", "rows_int8"


def quantize(model: "ModelProto", keep: Iterable[str]) -> "ModelProto":
    """Quantise the products of a graph with constant weights.

    Weights by output channel to int8, beforehand; activations by row to uint8, when they come.

    Args:
        model: a graph without branches, of which the weights are initialisers; it is not changed.
        keep: regular expressions of names of products that stay in full precision.
    """
    from onnx import ModelProto, numpy_helper
    from onnx.helper import make_opsetid

    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {one.name: one for one in graph.initializer}
    nodes: list[NodeProto] = []
    rows: set[str] = set()
    added: dict[str, NDArray[Any]] = {}
    for node in graph.node:
        if (
            node.op_type != "MatMul"
            or node.input[1] not in weights
            or any(re.search(pattern, node.name) for pattern in keep)
        ):
            nodes.append(node)
            continue
        given, weight = node.input
        if given not in rows:
            nodes += _rows(given)
            rows.add(given)
        eight_bits, scale = _columns(numpy_helper.to_array(weights[weight]))
        added |= {f"{weight}_int8": eight_bits, f"{weight}_scale": scale}
        nodes += _product(node, weight)
    if rows:
        added |= _constants()
        result.opset_import.append(make_opsetid(_DOMAIN, 1))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in added.items())
    read = {name for node in graph.node for name in node.input}
    unused = [one for one in graph.initializer if one.name not in read]
    for one in unused:
        graph.initializer.remove(one)
    return result


def _columns(weight: "NDArray[np.float32]") -> "tuple[NDArray[np.int8], NDArray[np.float32]]":
    """A weight in eight bits, and what each of its columns is multiplied by."""
    import numpy as np

    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / _LARGEST
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def _constants() -> "dict[str, NDArray[np.generic]]":
    import numpy as np

    return {
        "row_scale": np.array(1 / _LARGEST, np.float32),
        "row_zero_point": np.array(_ZERO_POINT, np.uint8),
        "last_axis": np.array([-1], np.int64),
    }


def _rows(given: str) -> "list[NodeProto]":
    """Make of activations each row's largest magnitude, and the rows over it, in eight bits."""
    from onnx.helper import make_node

    largest, scaled, eight_bits = (f"{given}_{name}" for name in (_ROW, _SCALED, _EIGHT_BITS))
    return [
        make_node("Abs", [given], [f"{largest}_abs"]),
        make_node("ReduceMax", [f"{largest}_abs", "last_axis"], [largest]),
        # of a row of zeros, no number: some integer, which is multiplied by zero at the end
        make_node("Div", [given, largest], [scaled]),
        make_node("QuantizeLinear", [scaled, "row_scale", "row_zero_point"], [eight_bits]),
    ]


def _product(node: "NodeProto", weight: str) -> "list[NodeProto]":
    """The product of what `_rows` and `_columns` made."""
    from onnx.helper import make_node

    given, out = node.input[0], node.output[0]
    scaled = [f"{given}_{_EIGHT_BITS}", f"{weight}_int8", "row_scale", f"{weight}_scale"]
    return [
        make_node(
            "MatMulIntegerToFloat",
            [*scaled, "row_zero_point"],
            [f"{out}_of_unit_rows"],
            node.name,
            domain=_DOMAIN,
        ),
        make_node("Mul", [f"{out}_of_unit_rows", f"{given}_{_ROW}"], [out]),
    ]

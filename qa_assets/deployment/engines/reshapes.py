"""A simplification of exported graphs: constant shapes for reshapes that keep their first axis."""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper


def keep_first_axes(model: ModelProto) -> None:
    """Replace computed shapes [length of the first axis, ...] by constants [0, ...], in place.

    transformers' attention reshapes to [batch, -1, heads, size] and reads the batch size from the
    decoder's states. That takes four nodes each time, and ties the keys of the encoder's output,
    which depend on nothing else of the decoder, to its states. In a Reshape, 0 keeps an axis as it
    is. Nodes that become unused stay; `onnx.utils.Extractor` leaves them out.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    constants: dict[str, Any] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
    } | {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant"
    }
    shapes = {}
    for node in graph.node:
        concat = producers.get(node.input[1]) if node.op_type == "Reshape" else None
        if concat is None or concat.op_type != "Concat":
            continue
        first, *rest = concat.input
        if _is_first_length(first, producers, constants) and all(
            name in constants for name in rest
        ):
            shape = [0, *(int(length) for name in rest for length in constants[name])]
            node.input[1] = "keep_first_" + "_".join(map(str, shape))
            shapes[node.input[1]] = shape
    graph.initializer.extend(
        numpy_helper.from_array(np.array(shape, dtype=np.int64), name)
        for name, shape in shapes.items()
    )


def _is_first_length(name: str, producers: dict[str, NodeProto], constants: dict[str, Any]) -> bool:
    """Whether a value is the length of the first axis of a tensor, as a shape of one axis."""
    for operation in ("Unsqueeze", "Gather", "Shape"):
        node = producers.get(name)
        if node is None or node.op_type != operation:
            return False
        if operation == "Gather" and constants.get(node.input[1], -1) != 0:
            return False
        name = node.input[0]
    return True

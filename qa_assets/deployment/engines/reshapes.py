"""Simpler reshapes of an exported graph: the same results of less work."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def keep_first_axes(model: "ModelProto") -> None:
    """Let reshapes that keep their first axis say so, instead of asking for its length, in place.

    transformers' attention reshapes to [batch, -1, heads, size], with the length of a batch that it
    asks the decoder's states for: four nodes each time, and the keys of the encoder's output, which
    need nothing of the decoder, could not be computed without it. What is read no more stays, for
    `onnx.utils.Extractor` to leave out.
    """
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    constants: dict[str, Any] = {
        one.name: numpy_helper.to_array(one) for one in graph.initializer
    } | {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant"
    }
    added = {}
    for node in graph.node:
        shape = made.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.op_type != "Concat":
            continue
        first, *rest = shape.input
        if _is_first_length(first, made, constants) and all(name in constants for name in rest):
            kept = [0, *(int(one) for name in rest for one in constants[name])]
            node.input[1] = "keep_first_" + "_".join(map(str, kept))
            added[node.input[1]] = kept
    graph.initializer.extend(
        numpy_helper.from_array(np.array(shape, dtype=np.int64), name)
        for name, shape in added.items()
    )


def _is_first_length(name: str, made: "dict[str, NodeProto]", constants: dict[str, Any]) -> bool:
    """Whether a value is the length of the first axis of something, as a shape of one axis."""
    for operation in ("Unsqueeze", "Gather", "Shape"):
        node = made.get(name)
        if node is None or node.op_type != operation:
            return False
        if operation == "Gather" and constants.get(node.input[1], -1) != 0:
            return False
        name = node.input[0]
    return True

"""Eight-bit ONNX graphs of an exported model: dynamic quantisation, some projections left alone."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


def quantize(model: "ModelProto", keep: Iterable[str], scratch: Path) -> "ModelProto":
    """Quantise the matrix products of a graph.

    Weights by output channel to int8, beforehand; activations as a whole to uint8, when they come.

    Args:
        model: a graph without branches.
        keep: regular expressions of names of products that stay in full precision.
        scratch: a directory for a file of this graph.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and any(re.search(pattern, node.name) for pattern in keep)
    ]
    out = scratch / "quantized.onnx"
    logging.disable(logging.WARNING)  # a hint to simplify graphs first, of no use to these
    try:
        quantize_dynamic(
            model,
            out,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(out)

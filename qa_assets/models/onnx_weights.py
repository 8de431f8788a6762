"""Weights of an encoder out of an ONNX export, under the names that transformers gives them.

An export keeps most names. The matrices of linear layers are constants without one, transposed: the
name of the product that uses them, `/bert/encoder/layer.0/output/dense/MatMul`, has the layer's.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FILE = "model.onnx"


def read(path: Path) -> "dict[str, Tensor]":
    """The weights by their names in a state dict of PyTorch.

    Raises:
        ValueError: it is no ONNX file, or its weights are quantised.
    """
    import onnx
    import torch
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as error:
        raise ValueError(f"{path} is no ONNX file: {error}") from error
    if any(node.op_type in ("MatMulInteger", "DequantizeLinear") for node in graph.node):
        raise ValueError(f"{path} is quantised: give the export in full precision")
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:  # equal weights are stored once
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    weights = {name: array for name, array in arrays.items() if not name.startswith("onnx::")}
    for node in graph.node:
        layer, _, operator = node.name.strip("/").rpartition("/")
        matrix = next((arrays[name] for name in node.input if name in arrays), None)
        if operator == "MatMul" and matrix is not None:
            weights[f"{layer.replace('/', '.')}.weight"] = matrix.T
    return {name: torch.tensor(array) for name, array in weights.items() if array.ndim}

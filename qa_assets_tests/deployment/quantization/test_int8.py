"""Products in eight bits."""

import numpy as np

from qa_assets.deployment.quantization.int8 import quantize


def test_each_row_has_a_scale_of_its_own() -> None:
    """A row a thousand times larger, and a row of zeros: each as exact as if it were alone."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    rng = np.random.default_rng(1)
    weight = rng.normal(size=(64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weight"], ["out"], "kept/product")],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, None, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, None, 32])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    rows = rng.normal(size=(2, 3, 64)).astype(np.float32)
    rows[0, 0] *= 1000
    rows[1, 1] = 0
    quantized = quantize(model, [])
    (product,) = InferenceSession(quantized.SerializeToString()).run(None, {"rows": rows})
    exact = rows @ weight
    size = np.linalg.norm(exact, axis=-1, keepdims=True)
    assert np.abs(product - exact).max() > 0  # it is quantised
    assert (np.abs(product - exact) <= 0.01 * size).all()
    kept = quantize(model, ["^kept/"]).graph
    assert [tensor.name for tensor in kept.initializer] == ["weight"]

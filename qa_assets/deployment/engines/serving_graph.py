"""The ONNX graphs that Spark NLP loads, built from the graphs that optimum exports.

Spark NLP 5.5.3 (`ai.t5.OnnxT5EncoderDecoder`) leaks native memory and copies tensors slowly:

- it closes only the last result of a decoding loop. What the other steps return is never freed, nor
  are the zeros of the first step's cache, sized tokens x heads x 64 with the heads that the graph
  declares: 1 to 3 MB a prompt with optimum's graphs;
- it reads the encoder's output and every step's logits value by value, at a cost above the gain of
  int8.

The graphs here have the same inputs and outputs by name, but

- the encoder passes the source's ids through, and the decoder's first step contains the encoder;
- the decoder's cache is the output ids so far: each step computes their few positions again, which
  costs little, since the time of a step is that of reading the weights once;
- one head is declared;
- the logits are of the last position only, and end at the largest.

The keys and values of the cross-attention are computed once, as usual.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, utils

IDS = "input_ids"
MASK = "encoder_attention_mask"
HIDDEN = "encoder_hidden_states"
USE_CACHE = "use_cache_branch"
LOGITS = "logits"
_ALL_IDS = "all_ids"


def split(decoder: ModelProto, bias: NDArray[np.float32]) -> tuple[ModelProto, ModelProto]:
    """Split a decoder without past, as optimum exports it, into what runs once and every step.

    Args:
        decoder: has the outputs `logits` and `present.N.encoder.key` and `.value`.
        bias: added to the logits, of shape [vocabulary].

    Returns:
        `cross`: from the encoder's output to the keys and values of the cross-attention. `step`:
        from these, the mask and all output ids to the logits of the last position, up to the
        largest.
    """
    presents = [output.name for output in decoder.graph.output if ".encoder." in output.name]
    _read_presents(decoder.graph, presents)
    extractor = utils.Extractor(decoder)
    inputs = [IDS, MASK, HIDDEN]  # of some only the shape is read
    cross = extractor.extract_model(inputs, presents)
    step = extractor.extract_model([*inputs, *presents], [LOGITS])
    graph = step.graph
    (head,) = (node for node in graph.node if LOGITS in node.output)
    values = {
        "last": _integers(-1),
        "none": _integers(0),
        "end": _integers(2**62),
        "one": _integers(1),
        "ids_axis": _integers(1),
        "vocabulary_axis": _integers(2),
        "logits_bias": bias,
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    hidden, head.input[0], head.output[0] = head.input[0], "last_hidden", "unbiased_logits"
    position = list(graph.node).index(head)
    graph.node.insert(
        position,
        helper.make_node("Slice", [hidden, "last", "end", "ids_axis"], ["last_hidden"]),
    )
    graph.node.extend(
        [
            helper.make_node("Add", ["unbiased_logits", "logits_bias"], ["all_logits"]),
            helper.make_node("ArgMax", ["all_logits"], ["best"], axis=2, keepdims=0),
            helper.make_node("ReduceMax", ["best"], ["largest"], keepdims=0),
            helper.make_node("Add", ["largest", "one"], ["width"]),
            helper.make_node("Slice", ["all_logits", "none", "width", "vocabulary_axis"], [LOGITS]),
        ]
    )
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    graph.output[0].type.tensor_type.shape.dim[2].dim_param = "largest_id"
    return cross, step


def source_ids() -> ModelProto:
    """The graph in place of the encoder: ids [batch, tokens] as floats [batch, tokens, 1]."""
    shape = ["batch_size", "encoder_sequence_length"]
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Unsqueeze", [IDS, "axis"], ["ids"]),
                helper.make_node("Cast", ["ids"], ["last_hidden_state"], to=TensorProto.FLOAT),
            ],
            "ids",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, shape)
                for name in (IDS, "attention_mask")
            ],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, 1])],
            [numpy_helper.from_array(_integers(2), "axis")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


def join(encoder: ModelProto, cross: ModelProto, step: ModelProto) -> ModelProto:
    """The merged decoder: an encoder and the results of `split`, quantised or not."""
    weights, names = _weights([encoder.graph, cross.graph, step.graph])

    presents = [output.name for output in cross.graph.output]
    pasts = list(map(_past, presents))
    decoders = [name.replace("encoder", "decoder") for name in presents]
    ids, unused = decoders[0], decoders[1:]
    outputs = [LOGITS, *presents]
    later = _branch(
        "cached",
        [
            helper.make_node("Cast", [_past(ids)], ["past_ids"], to=TensorProto.INT64),
            helper.make_node("Squeeze", ["past_ids", "ids_axes"], ["past_ids_of_rows"]),
            helper.make_node("Concat", ["past_ids_of_rows", IDS], [_ALL_IDS], axis=1),
            *_inlined(
                step.graph,
                "later",
                names[2] | dict(zip(presents, pasts, strict=True)) | {IDS: _ALL_IDS},
            ),
            *(helper.make_node("Identity", ["nothing"], [name]) for name in presents),
        ],
        [_ALL_IDS, *outputs],
    )
    first = _branch(
        "first",
        [
            helper.make_node("Identity", [IDS], [_ALL_IDS]),
            helper.make_node("Cast", [HIDDEN], ["source_ids_in_shape"], to=TensorProto.INT64),
            helper.make_node("Squeeze", ["source_ids_in_shape", "source_axis"], ["source_ids"]),
            *_inlined(
                encoder.graph,
                "encoder",
                names[0]
                | {IDS: "source_ids", "attention_mask": MASK, "last_hidden_state": "hidden"},
            ),
            *_inlined(cross.graph, "cross", names[1] | {HIDDEN: "hidden"}),
            *_inlined(step.graph, "first", names[2] | {IDS: _ALL_IDS, HIDDEN: "hidden"}),
        ],
        [_ALL_IDS, *outputs],
    )
    graph = helper.make_graph(
        [
            helper.make_node(
                "If", [USE_CACHE], [_ALL_IDS, *outputs], then_branch=later, else_branch=first
            ),
            helper.make_node("Unsqueeze", [_ALL_IDS, "ids_axes"], ["ids_in_shape"]),
            helper.make_node("Cast", ["ids_in_shape"], [ids], to=TensorProto.FLOAT),
            *(helper.make_node("Identity", ["nothing"], [name]) for name in unused),
        ],
        "decoder",
        [
            *(value for value in cross.graph.input if value.name != HIDDEN),
            helper.make_tensor_value_info(
                HIDDEN, TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", 1]
            ),
            helper.make_tensor_value_info(USE_CACHE, TensorProto.BOOL, [1]),
            *(_cache(_past(name), 1) for name in decoders),
            *(_cache(name, "heads") for name in pasts),
        ],
        [
            *step.graph.output,
            *(_cache(name, 1) for name in decoders),
            *(_cache(name, "heads") for name in presents),
        ],
        [
            *weights,
            numpy_helper.from_array(_integers(2), "source_axis"),
            numpy_helper.from_array(_integers(1, 3), "ids_axes"),
            helper.make_tensor("nothing", TensorProto.FLOAT, [1, 1, 1, 1], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=step.opset_import, ir_version=step.ir_version)
    onnx.checker.check_model(model)
    return model


def _read_presents(graph: GraphProto, presents: Sequence[str]) -> None:
    """Let other transpositions of a present's input transpose the present, which can be cut off.

    The keys are transposed twice; the exporter folds that into two transpositions of one tensor.
    """
    for present in [node for node in graph.node if node.output[0] in presents]:
        order = list(present.attribute[0].ints)
        for node in graph.node:
            same_input = node.op_type == "Transpose" and node.input[0] == present.input[0]
            if same_input and node is not present:
                permutation = [order.index(axis) for axis in node.attribute[0].ints]
                node.input[0] = present.output[0]
                node.attribute[0].CopyFrom(helper.make_attribute("perm", permutation))


def _past(present: str) -> str:
    return present.replace("present", "past_key_values")


def _cache(name: str, heads: int | str) -> onnx.ValueInfoProto:
    shape = ["batch_size", heads, f"{name}_positions", f"{name}_size"]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _branch(name: str, nodes: Sequence[NodeProto], outputs: Sequence[str]) -> GraphProto:
    types = {_ALL_IDS: TensorProto.INT64}
    values = [
        helper.make_tensor_value_info(output, types.get(output, TensorProto.FLOAT), None)
        for output in outputs
    ]
    return helper.make_graph(nodes, name, [], values)


def _inlined(graph: GraphProto, prefix: str, names: dict[str, str]) -> list[NodeProto]:
    """The nodes of a graph with renamed inputs, and a prefix before the names within it."""
    outputs = {output.name for output in graph.output}
    inner = {name for node in graph.node for name in node.output} - outputs
    names = names | {name: f"{prefix}{name}" for name in inner}
    result = []
    for node in graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}{node.name or node.output[0]}"
        copy.input[:] = [names.get(name, name) for name in node.input]
        copy.output[:] = [names.get(name, name) for name in node.output]
        result.append(copy)
    return result


def _weights(graphs: Sequence[GraphProto]) -> tuple[list[TensorProto], list[dict[str, str]]]:
    """The initialisers of graphs without duplicates; and for each graph new names by old."""
    tensors: dict[bytes, TensorProto] = {}
    names: list[dict[str, str]] = []
    for graph in graphs:
        names.append({})
        for tensor in graph.initializer:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = ""
            content = hashlib.sha256(copy.SerializeToString(deterministic=True)).digest()
            copy.name = f"weights_{len(tensors)}"
            names[-1][tensor.name] = tensors.setdefault(content, copy).name
    return list(tensors.values()), names


def _integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)

"""The ONNX graphs that Spark NLP loads, built from the graphs that optimum exports.

Spark NLP 5.5.3 (`ai.seq2seq.OnnxT5EncoderDecoder`) runs the decoder once for each token, and

- never frees what any of these runs returns, but the first and the last, nor the zeros that it
  makes for the first one's cache: tokens of the source x heads that the graph declares x 64;
- reads the encoder's output and all logits value by value, at a cost above the gain of int8.

The graphs here have T5's inputs and outputs by name, for one layer with one head, but

- the encoder passes the source's ids through;
- the decoder's first run computes the whole output, and returns its ids in place of the cache. Each
  later run takes the next one from there;
- the logits say no more than the next id: they end at it, as the only one that is not zero.

The first run decodes greedily in a loop, and drafts: the ids that follow the last one where the
source has it are checked in the pass that computes the next id ("prompt lookup decoding"). Where an
output is a part of its source, a few passes find all of it; what is found is the same.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    parser,
    utils,
)

IDS = "input_ids"
MASK = "encoder_attention_mask"
HIDDEN = "encoder_hidden_states"
USE_CACHE = "use_cache_branch"
LOGITS = "logits"
IDS_LEFT = "present.0.decoder.key"
"""The ids of the output behind that of the logits, in the place of a cache."""
DRAFT_TOKENS = 3

CONSTANTS: dict[str, NDArray[Any]] = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "minus_one": np.array([-1]),
    "end": np.array([2**62]),
    "axis": np.array(1),
    "end_id": np.array([[1]]),
    "draft_tokens": np.array([DRAFT_TOKENS]),
}
"""Of DRAFT and ACCEPT."""
_SOURCE, _HIDDEN, _ALL_IDS, _FIRST, _BEST = "source_ids", "hidden", "all_ids", "first", "best"
_UNUSED = ["present.0.decoder.value", "present.0.encoder.key", "present.0.encoder.value"]
DRAFT = f"""
    last = Slice (ids, minus_one, end, one)
    is_last = Equal ({_SOURCE}, last)
    matches = Cast <to = {TensorProto.INT32}> (is_last)
    match = ArgMax <axis = 1, keepdims = 0> (matches)
    matched_as_int32 = ReduceMax <keepdims = 0> (matches, one)
    matched = Cast <to = {TensorProto.INT64}> (matched_as_int32)
    draft_start = Add (match, one)
    draft_length = Mul (matched, draft_tokens)
    draft_end = Add (draft_start, draft_length)
    draft = Slice ({_SOURCE}, draft_start, draft_end, one)
    {_ALL_IDS} = Concat <axis = 1> (ids, draft)
    length = Shape <start = 1> (ids)
    {_FIRST} = Sub (length, one)
"""
"""Behind the ids so far come those that follow the last of them in the source, if it is there."""
ACCEPT = f"""
    drafted = Concat <axis = 1> (draft, end_id)
    agrees = Equal ({_BEST}, drafted)
    disagrees = Not (agrees)
    ends = Equal ({_BEST}, end_id)
    stops = Or (disagrees, ends)
    stops_as_numbers = Cast <to = {TensorProto.INT64}> (stops)
    stops_before = CumSum <exclusive = 1> (stops_as_numbers, axis)
    accepted = Equal (stops_before, zero)
    accepted_as_numbers = Cast <to = {TensorProto.INT64}> (accepted)
    count = ReduceSum <keepdims = 0> (accepted_as_numbers, one)
    new_ids = Slice ({_BEST}, zero, count, one)
    longer_ids = Concat <axis = 1> (ids, new_ids)
    newest = Slice (new_ids, minus_one, end, one)
    ended = Equal (newest, end_id)
    goes_on = Not (ended)
    proceed = Squeeze (goes_on)
"""
"""Of the best ids those up to the first that ends the output or was not drafted."""
_RETURN = f"""
    next_id = Slice (left, zero, one, one)
    zeros_shape = Concat <axis = 1> (one_by_one, next_id)
    zeros_shape_as_list = Squeeze (zeros_shape, zero)
    zeros = ConstantOfShape <value = float[1] {{0}}> (zeros_shape_as_list)
    {LOGITS} = Concat <axis = 2> (zeros, peak)
    left_behind = Slice (left, one, end, one)
    left_in_shape = Unsqueeze (left_behind, cache_axes)
"""


def split(decoder: ModelProto, bias: NDArray[np.float32]) -> tuple[ModelProto, ModelProto]:
    """Split a decoder without past, as optimum exports it, into what runs once and every pass.

    Args:
        decoder: has the outputs `logits` and `present.N.encoder.key` and `.value`.
        bias: added to the logits, of shape [vocabulary].

    Returns:
        `cross`: from the encoder's output to the keys and values of the cross-attention. `step`:
        from these, the mask and all output ids to the best next ids, from the position `first` on.
    """
    presents = [output.name for output in decoder.graph.output if ".encoder." in output.name]
    _read_presents(decoder.graph, presents)
    extractor = utils.Extractor(decoder)
    inputs = [IDS, MASK, HIDDEN]  # of some only the shape is read
    cross = extractor.extract_model(inputs, presents)
    step = extractor.extract_model([*inputs, *presents], [LOGITS])
    graph = step.graph
    (head,) = (node for node in graph.node if LOGITS in node.output)
    values = {"end": _integers(2**62), "ids_axis": _integers(1), "logits_bias": bias}
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    states, head.input[0], head.output[0] = head.input[0], "states", "unbiased_logits"
    position = list(graph.node).index(head)
    graph.node.insert(
        position, helper.make_node("Slice", [states, _FIRST, "end", "ids_axis"], ["states"])
    )
    graph.node.extend(
        [
            helper.make_node("Add", ["unbiased_logits", "logits_bias"], [LOGITS]),
            helper.make_node("ArgMax", [LOGITS], [_BEST], axis=2, keepdims=0),
        ]
    )
    graph.input.append(helper.make_tensor_value_info(_FIRST, TensorProto.INT64, [1]))
    graph.output[0].CopyFrom(_ids(_BEST))
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


def join(
    encoder: ModelProto, cross: ModelProto, step: ModelProto, max_new_tokens: int
) -> ModelProto:
    """The merged decoder: an encoder and the results of `split`, quantised or not.

    An output has `max_new_tokens` at most, its end included.
    """
    shared, own, names = _weights([encoder.graph, cross.graph, step.graph])
    body = helper.make_graph(
        [
            *nodes(DRAFT),
            *_inlined(step.graph, "step", names[2] | {IDS: _ALL_IDS, HIDDEN: _HIDDEN}),
            *nodes(ACCEPT),
        ],
        "pass",
        [
            helper.make_tensor_value_info("pass", TensorProto.INT64, []),
            helper.make_tensor_value_info("proceeded", TensorProto.BOOL, []),
            _ids("ids"),
        ],
        [helper.make_tensor_value_info("proceed", TensorProto.BOOL, []), _ids("longer_ids")],
        own[2],
    )
    ids_of_source = {IDS: _SOURCE, "attention_mask": MASK, "last_hidden_state": _HIDDEN}
    first = [
        helper.make_node("Cast", [HIDDEN], ["source_ids_in_shape"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["source_ids_in_shape", "source_axis"], [_SOURCE]),
        *_inlined(encoder.graph, "encoder", names[0] | ids_of_source),
        *_inlined(cross.graph, "cross", names[1] | {HIDDEN: _HIDDEN}),
        helper.make_node("Loop", ["max_new_tokens", "", IDS], ["start_and_output"], body=body),
        helper.make_node("Slice", ["start_and_output", "one", "behind", "one"], ["output"]),
        # never empty, whatever Spark NLP asks for
        helper.make_node("Concat", ["output", "end_id"], ["computed"], axis=1),
    ]
    later = [
        helper.make_node("Cast", [_past(IDS_LEFT)], ["past_in_shape"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["past_in_shape", "cache_axes"], ["past"]),
    ]
    choice = helper.make_node(
        "If",
        [USE_CACHE],
        ["left"],
        then_branch=helper.make_graph(later, "later", [], [_ids("past")]),
        else_branch=helper.make_graph(first, "first", [], [_ids("computed")], [*own[0], *own[1]]),
    )
    values = CONSTANTS | {
        "behind": _integers(max_new_tokens + 1),
        "max_new_tokens": np.array(max_new_tokens, dtype=np.int64),
        "source_axis": _integers(2),
        "cache_axes": _integers(1, 3),
        "one_by_one": np.array([[1, 1]], dtype=np.int64),
        "peak": np.ones((1, 1, 1), dtype=np.float32),
        "nothing": np.zeros((1, 1, 1, 1), dtype=np.float32),
    }
    caches = [IDS_LEFT, *_UNUSED]
    graph = helper.make_graph(
        [
            choice,
            *nodes(_RETURN),
            helper.make_node("Cast", ["left_in_shape"], [IDS_LEFT], to=TensorProto.FLOAT),
            *(helper.make_node("Identity", ["nothing"], [name]) for name in _UNUSED),
        ],
        "decoder",
        [
            _ids(IDS),
            _ids(MASK),
            helper.make_tensor_value_info(
                HIDDEN, TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", 1]
            ),
            helper.make_tensor_value_info(USE_CACHE, TensorProto.BOOL, [1]),
            *(_cache(_past(name)) for name in caches),
        ],
        [
            helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch_size", 1, "width"]),
            *(_cache(name) for name in caches),
        ],
        [*shared, *(numpy_helper.from_array(array, name) for name, array in values.items())],
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


def _cache(name: str) -> onnx.ValueInfoProto:
    shape = ["batch_size", 1, f"{name}_positions", f"{name}_size"]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _ids(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", f"{name}_count"])


def nodes(text: str) -> list[NodeProto]:
    """Nodes in ONNX's textual syntax."""
    return list(parser.parse_graph(f"nodes () => () {{{text}}}").node)


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


def _weights(
    graphs: Sequence[GraphProto],
) -> tuple[list[TensorProto], list[list[TensorProto]], list[dict[str, str]]]:
    """The initialisers of graphs without duplicates, and for each graph new names by old.

    Those of several graphs come first, then those of each: ONNX Runtime packs weights for its
    kernels only where they are initialisers of the very graph that multiplies with them, else
    again in each pass.
    """
    tensors: dict[bytes, TensorProto] = {}
    users: dict[str, set[int]] = {}
    names: list[dict[str, str]] = []
    for number, graph in enumerate(graphs):
        names.append({})
        for tensor in graph.initializer:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = ""
            content = hashlib.sha256(copy.SerializeToString(deterministic=True)).digest()
            copy.name = f"weights_{len(tensors)}"
            name = names[-1][tensor.name] = tensors.setdefault(content, copy).name
            users.setdefault(name, set()).add(number)

    def used_by(numbers: set[int]) -> list[TensorProto]:
        return [tensor for tensor in tensors.values() if users[tensor.name] == numbers]

    own = [used_by({number}) for number in range(len(graphs))]
    shared = [tensor for tensor in tensors.values() if len(users[tensor.name]) > 1]
    return shared, own, names


def _integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)

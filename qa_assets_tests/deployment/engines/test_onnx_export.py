"""The exported graphs predict as transformers does, and the export holds nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qa_assets.deployment.engines import serving_graph
from qa_assets.deployment.engines.onnx_export import export
from qa_assets.deployment.engines.onnx_runtime import OnnxModel, generate
from qa_assets.models.logit_bias import ExportError
from qa_assets_tests.deployment.conftest import BLANK, MAX_NEW_TOKENS, SOURCES, Reference


def test_reference_exercises_what_is_compared(reference: Reference) -> None:
    """Otherwise equal outputs would prove nothing."""
    assert len(set(reference.texts)) > len(SOURCES) // 2
    assert all(
        sum(token in row for row in reference.tokens) > 1
        for token in (1, 2, 3)  # the end, the unknown and the no-answer token, all biased
    )
    differing = sum(a != b for a, b in zip(reference.texts, reference.unbiased, strict=True))
    assert differing > len(SOURCES) // 3


def test_outputs_equal_transformers(onnx_dir: Path, reference: Reference) -> None:
    outputs = generate(onnx_dir, [*SOURCES, *BLANK], max_new_tokens=MAX_NEW_TOKENS)
    assert [output.text for output in outputs] == [*reference.texts, *[""] * len(BLANK)]
    assert {output.confidence for output in outputs} == {None}


def test_export_holds_what_is_needed(onnx_dir: Path) -> None:
    assert {str(file.relative_to(onnx_dir)) for file in onnx_dir.rglob("*") if file.is_file()} == {
        "encoder_model.onnx",
        "decoder_model_merged.onnx",
        "assets/spiece.model",
        "config.json",
    }
    assert [item.name for item in onnx_dir.parent.iterdir()] == [onnx_dir.name]


def test_decoder_runs_as_spark_nlp_runs_it(onnx_dir: Path) -> None:
    """Token by token, and with little that is returned, as Spark NLP never frees it."""
    model = OnnxModel(onnx_dir)
    heads = {
        value.name: value.shape[1]
        for value in model.decoder.get_inputs()
        if value.name == "past_key_values.0.decoder.value"
    }
    assert list(heads.values()) == [1]
    (ids,) = np.array([model.pieces.encode(SOURCES[0])], dtype=np.int64)[None]
    (hidden,) = model.encoder.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    zeros = np.zeros((1, 1, len(ids[0]), 64), dtype=np.float32)  # as Spark NLP makes it
    feeds = {value.name: zeros for value in model.decoder.get_inputs() if "past" in value.name} | {
        "input_ids": np.zeros((1, 1), dtype=np.int64),
        "encoder_attention_mask": np.ones_like(ids),
        "encoder_hidden_states": hidden,
        "use_cache_branch": np.array([False]),
    }
    names = [output.name for output in model.decoder.get_outputs()]
    assert len(names) == 5  # of one layer
    output: list[int] = []
    while len(output) < MAX_NEW_TOKENS and 1 not in output:
        logits, *states = model.decoder.run(names, feeds)
        output.append(int(logits.argmax()))
        assert logits.shape == (1, 1, output[-1] + 1)
        assert sum(state.size for state in states) <= MAX_NEW_TOKENS + len(states)
        presents = dict(zip(names[1:], states, strict=True))
        feeds |= {
            name.replace("present", "past_key_values"): value for name, value in presents.items()
        }
        feeds |= {
            "input_ids": np.array([output[-1:]], dtype=np.int64),
            "use_cache_branch": np.array([True]),
        }
    assert model.decode([*ids[0].tolist()], MAX_NEW_TOKENS)[: len(output)] == output


@pytest.mark.parametrize(
    ("ids", "drafted", "best", "longer", "goes_on"),
    [
        ([0, 5], [6, 7, 8], [6, 7, 8, 9], [0, 5, 6, 7, 8, 9], True),  # all that was drafted
        ([0, 5], [6, 7, 8], [6, 4, 8, 9], [0, 5, 6, 4], True),  # and no more behind another
        ([0, 5], [6, 7, 8], [6, 1, 8, 9], [0, 5, 6, 1], False),
        ([0, 5], [6, 7, 8], [1, 7, 8, 9], [0, 5, 1], False),
        ([0, 7], [8, 1], [8, 1, 3], [0, 7, 8, 1], False),  # the source ends
        ([0, 3], [], [5], [0, 3, 5], True),  # not of the source
        ([0], [], [1], [0, 1], False),
    ],
)
def test_drafts_are_accepted_up_to_the_first_other_token(
    ids: list[int], drafted: list[int], best: list[int], longer: list[int], goes_on: bool
) -> None:
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    names = ["ids", "source_ids", "best"]
    rows = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, None])
        for name in [*names, "draft", "longer_ids"]
    ]
    graph = helper.make_graph(
        [*serving_graph.nodes(serving_graph.DRAFT), *serving_graph.nodes(serving_graph.ACCEPT)],
        "pass",
        rows[:3],
        [*rows[3:], helper.make_tensor_value_info("proceed", TensorProto.BOOL, [])],
        [numpy_helper.from_array(value, name) for name, value in serving_graph.CONSTANTS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    feeds = [np.array([row]) for row in (ids, [4, 5, 6, 7, 8, 1], best)]
    results = InferenceSession(model.SerializeToString()).run(
        None, dict(zip(names, feeds, strict=True))
    )
    assert [result.tolist() for result in results] == [[drafted], [longer], goes_on]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"d_kv": 32}, "d_kv is 32, but"),
        ("config.json", {"vocab_size": 40_000}, "vocab_size is 40000, but"),
        ("config.json", {"pad_token_id": 5}, "pad_token_id is 5, but"),
        ("config.json", {"eos_token_id": 2}, "eos_token_id is 2, but"),
        ("config.json", {"model_type": "mt5"}, "model_type is 'mt5', but"),
        (
            "generation_config.json",
            {"sequence_bias": [[[3, 4], 1.0]]},
            r"sequence_bias of \[3, 4\]",
        ),
        (
            "generation_config.json",
            {"sequence_bias": [[[9999], 1.0]]},
            r"sequence_bias of \[9999\]",
        ),
        ("spiece.model", None, "has no spiece.model"),
    ],
)
def test_models_that_cannot_serve_are_refused(
    model_dir: Path, tmp_path: Path, file: str, change: dict[str, Any] | None, message: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    if change is None:
        (broken / file).unlink()
    else:
        content = json.loads((broken / file).read_text())
        (broken / file).write_text(json.dumps(content | change))
    with pytest.raises(ExportError, match=message):
        export(broken, tmp_path / "out", max_new_tokens=8)
    assert [item.name for item in tmp_path.iterdir()] == ["broken"]


def test_nothing_half_written_is_left(model_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(Exception, match="safetensors|header|model"):
        export(broken, tmp_path / "out", max_new_tokens=8)
    assert [item.name for item in tmp_path.iterdir()] == ["broken"]


def test_what_exists_is_kept(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        export(model_dir, tmp_path, max_new_tokens=8)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]

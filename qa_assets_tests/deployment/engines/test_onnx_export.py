"""The exported graphs predict as transformers does, and the export holds nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


def test_decoder_returns_little(onnx_dir: Path) -> None:
    """What Spark NLP never frees: see `serving_graph`."""
    model = OnnxModel(onnx_dir)
    heads = {
        value.name: value.shape[1]
        for value in model.decoder.get_inputs()
        if value.name == "past_key_values.0.decoder.value"
    }
    assert list(heads.values()) == [1]
    ids = np.array([[5, 6, 7, 8]], dtype=np.int64)
    (hidden,) = model.encoder.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    zeros = np.zeros((1, 1, len(ids[0]), 64), dtype=np.float32)  # as Spark NLP makes it
    feeds = {value.name: zeros for value in model.decoder.get_inputs() if "past" in value.name} | {
        "input_ids": np.zeros((1, 1), dtype=np.int64),
        "encoder_attention_mask": np.ones_like(ids),
        "encoder_hidden_states": hidden,
        "use_cache_branch": np.array([False]),
    }
    names = [output.name for output in model.decoder.get_outputs()]
    first = dict(zip(names, model.decoder.run(None, feeds), strict=True))
    feeds |= {
        name.replace("present", "past_key_values"): value
        for name, value in first.items()
        if name != "logits"
    }
    feeds["input_ids"] = first["logits"].argmax(-1)
    feeds["use_cache_branch"] = np.array([True])
    later = [name for name in names if ".encoder." not in name]
    logits, *states = model.decoder.run(later, feeds)
    assert logits.shape == (1, 1, logits.argmax() + 1)
    assert sum(state.size for state in states) == len(states) + 1  # the two ids so far


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
        export(broken, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["broken"]


def test_nothing_half_written_is_left(model_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(Exception, match="safetensors|header|model"):
        export(broken, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["broken"]


def test_what_exists_is_kept(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        export(model_dir, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]

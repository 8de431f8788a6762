"""The converted model predicts as transformers does, with the same confidences."""

import shutil
from pathlib import Path

import pytest

from qa_assets.models import base_model
from qa_assets.models.ctranslate2 import CTranslate2Error, convert, generate, load
from qa_assets_tests.deployment.conftest import (
    BLANK,
    MAX_NEW_TOKENS,
    SOURCES,
    Reference,
    transformers_outputs,
)


def test_outputs_equal_transformers(ctranslate2_dir: Path, reference: Reference) -> None:
    model = load(ctranslate2_dir)
    outputs = generate(model, [*SOURCES, *BLANK], max_new_tokens=MAX_NEW_TOKENS)
    assert [output.text for output in outputs] == [*reference.texts, *[""] * len(BLANK)]


def test_confidences_equal_transformers(
    ctranslate2_dir: Path, candidate_model: Path, tmp_path: Path
) -> None:
    """With a model whose every id is a piece: transformers gives others a share."""
    convert(candidate_model, tmp_path / "out", token_bias={5: 2.0}, quantization="float32")
    model, tokenizer = base_model.load(candidate_model)
    model.generation_config.sequence_bias = [[[5], 2.0]]
    for longest in (1, MAX_NEW_TOKENS):
        expected = transformers_outputs(model, tokenizer, SOURCES, longest)
        outputs = generate(load(tmp_path / "out"), SOURCES, max_new_tokens=longest)
        assert [output.text for output in outputs] == [output.text for output in expected]
        assert [output.confidence for output in outputs] == pytest.approx(
            [output.confidence for output in expected], abs=1e-5
        )
    outputs = generate(load(ctranslate2_dir), BLANK, max_new_tokens=MAX_NEW_TOKENS)
    assert [output.confidence for output in outputs] == [0.0] * len(BLANK)


def test_what_is_no_model_is_refused(candidate_model: Path, tmp_path: Path) -> None:
    with pytest.raises(CTranslate2Error, match=r"has no spiece\.model"):
        convert(tmp_path, tmp_path / "out", token_bias={}, quantization="int8")
    with pytest.raises(CTranslate2Error, match=r"has no model\.bin"):
        load(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(candidate_model, broken)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CTranslate2Error, match="cannot be converted"):
        convert(broken, tmp_path / "out", token_bias={}, quantization="int8")
    assert [item.name for item in tmp_path.iterdir()] == ["broken"]

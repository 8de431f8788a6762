"""The converted model answers as transformers does, and knows how sure it is."""

import shutil
from pathlib import Path

import pytest

from qa_assets.deployment.engines.ctranslate2 import CTranslate2Error, answer, convert, load
from qa_assets.models import base_model, decoding
from qa_assets_tests.deployment.conftest import BLANK, MAX_NEW_TOKENS, SOURCES, Reference


def test_answers_equal_transformers(ctranslate2_dir: Path, reference: Reference) -> None:
    texts, _ = answer(load(ctranslate2_dir), [*SOURCES, *BLANK], max_new_tokens=MAX_NEW_TOKENS)
    assert texts == [*reference.answers, *[""] * len(BLANK)]


def test_confidences_equal_transformers(
    ctranslate2_dir: Path, candidate_model: Path, tmp_path: Path
) -> None:
    """Of a model whose every id is a piece: transformers would give the others a share."""
    convert(candidate_model, tmp_path / "out", token_bias={5: 2.0}, quantization="float32")
    model, tokenizer = base_model.load(candidate_model)
    model.generation_config.sequence_bias = [[[5], 2.0]]
    for longest in (1, MAX_NEW_TOKENS):
        expected = decoding.answer(
            model, tokenizer, SOURCES, "", max_new_tokens=longest, batch_size=4,
            max_source_tokens=5_000, window_overlap_tokens=0, precision="fp32",
        )  # fmt: skip
        texts, confidences = answer(load(tmp_path / "out"), SOURCES, max_new_tokens=longest)
        assert texts == expected[0]
        assert confidences == pytest.approx(expected[1], abs=1e-5)
    _, confidences = answer(load(ctranslate2_dir), BLANK, max_new_tokens=MAX_NEW_TOKENS)
    assert confidences == [0.0] * len(BLANK)


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

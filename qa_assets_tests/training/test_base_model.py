"""Making, saving and loading models."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from qa_assets.training import base_model
from qa_assets.training.features import Row
from qa_assets_tests.training.conftest import NULL_TEXT


def test_tiny_t5_has_the_shape_of_flan(base: Path) -> None:
    model, tokenizer = base_model.load(base)
    assert model.config.feed_forward_proj == "gated-gelu"
    assert not model.config.tie_word_embeddings
    assert model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    assert model.config.d_kv == 64
    assert (model.config.pad_token_id, model.config.eos_token_id) == (0, 1)
    assert model.config.vocab_size == len(tokenizer)
    assert (base / "spiece.model").exists()
    assert (base / "model.safetensors").exists()


@pytest.mark.parametrize("null_text", [NULL_TEXT, "none"])
def test_null_text_is_one_piece_and_so_are_words(
    null_text: str, rows: list[Row], tmp_path: Path
) -> None:
    texts = [row["source"] for row in rows]
    _, tokenizer = base_model.load(base_model.create_tiny_t5(texts, tmp_path / "t5", null_text, 1))
    ids = tokenizer(null_text)["input_ids"]
    assert len(ids) == 2
    assert tokenizer.decode(ids, skip_special_tokens=True) == null_text
    words = rows[0]["source"].replace("?", "").replace(".", "").replace(":", "").split()
    pieces = tokenizer.tokenize(" ".join(words))
    assert len(pieces) < 1.2 * len(words)


def test_tokens_are_those_of_sentencepiece(base: Path, rows: list[Row]) -> None:
    import sentencepiece

    _, tokenizer = base_model.load(base)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(base / "spiece.model"))
    for row in rows[:30]:
        assert tokenizer(row["source"])["input_ids"] == [*reference.encode(row["source"]), 1]
        ids = tokenizer(text_target=row["target"])["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["target"]


def test_same_seed_same_weights(base: Path, rows: list[Row], tmp_path: Path) -> None:
    texts = [text for row in rows for text in (row["source"], row["target"])]
    weights = [
        (base_model.create_tiny_t5(texts, tmp_path / str(seed), NULL_TEXT, seed))
        / "model.safetensors"
        for seed in (1, 2)
    ]
    original = (base / "model.safetensors").read_bytes()
    assert weights[0].read_bytes() == original
    assert weights[1].read_bytes() != original


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "spiece.model"])
def test_says_what_a_directory_lacks(lacking: str, base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    (broken / lacking).unlink()
    with pytest.raises(base_model.BaseModelError, match=f"(?s){lacking}.*QA_ASSETS_MODEL_BASE"):
        base_model.load(broken)


def test_says_that_a_model_cannot_be_read(base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(base_model.BaseModelError, match="QA_ASSETS_MODEL_BASE"):
        base_model.load(broken)


def test_says_that_the_hub_has_no_such_model(monkeypatch: pytest.MonkeyPatch) -> None:
    # read when a file is asked for, so that the test needs no network
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(base_model.BaseModelError, match="nobody/nothing.*QA_ASSETS_MODEL_BASE"):
        base_model.load("nobody/nothing")


def test_tokens_are_counted_where_there_is_a_vocabulary(
    base: Path, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = base_model.piece_counter(str(base))
    assert counter is not None
    ids = base_model.load_tokenizer(base)(rows[0]["source"])["input_ids"]
    assert counter([rows[0]["source"], ""]) == [len(ids) - 1, 0]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("tiny", "nobody/nothing", str(tmp_path / "nowhere")):
        assert base_model.piece_counter(name) is None


def test_says_that_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="no such directory"):
        base_model.load(tmp_path / "nowhere")


def test_null_text_of_two_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="QA_ASSETS_DATA_NO_ANSWER"):
        base_model.create_tiny_t5(["some text"], tmp_path / "t5", "no answer", 1)
    assert not (tmp_path / "t5").exists()


def test_too_little_text_for_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="more questions"):
        base_model.create_tiny_t5([""], tmp_path / "t5", NULL_TEXT, 1)


def test_precision_of_a_small_model_is_full(base: Path) -> None:
    import torch

    model, _ = base_model.load(base)
    assert isinstance(base_model.autocast(model, "auto"), nullcontext)
    with base_model.autocast(model, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16

"""Making a base model of the texts to learn."""

from pathlib import Path

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, tiny_t5
from qa_assets_tests.training_fixtures import TASK, sources, texts


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


@pytest.mark.parametrize("word", [TASK.abstention, "none"])
def test_the_abstention_is_one_piece_and_so_are_words(
    word: str, examples: list[Example], tmp_path: Path
) -> None:
    read = sources(examples)
    _, tokenizer = base_model.load(tiny_t5.create(read, tmp_path / "t5", [word], 1))
    ids = tokenizer(word)["input_ids"]
    assert len(ids) == 2
    assert tokenizer.decode(ids, skip_special_tokens=True) == word
    words = read[0].replace("?", "").replace(".", "").replace(":", "").split()
    pieces = tokenizer.tokenize(" ".join(words))
    assert len(pieces) < 1.2 * len(words)


def test_same_seed_same_weights(base: Path, examples: list[Example], tmp_path: Path) -> None:
    weights = [
        tiny_t5.create(texts(examples), tmp_path / str(seed), [TASK.abstention], seed)
        / "model.safetensors"
        for seed in (1, 2)
    ]
    original = (base / "model.safetensors").read_bytes()
    assert weights[0].read_bytes() == original
    assert weights[1].read_bytes() != original


def test_an_abstention_of_two_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="'no answer' has to be a single word"):
        tiny_t5.create(["some text"], tmp_path / "t5", ["no answer"], 1)
    assert not (tmp_path / "t5").exists()


def test_no_further_words_are_needed(examples: list[Example], tmp_path: Path) -> None:
    base_model.load(tiny_t5.create(texts(examples), tmp_path / "t5", [], 1))


def test_too_little_text_for_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="more examples"):
        tiny_t5.create([""], tmp_path / "t5", ["none"], 1)

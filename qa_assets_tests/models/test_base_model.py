"""Saving and loading models."""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, tokens
from qa_assets_tests.training_fixtures import TASK, sources


def test_tokens_are_those_of_sentencepiece(base: Path, examples: list[Example]) -> None:
    import sentencepiece

    _, tokenizer = base_model.load(base)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(base / "spiece.model"))
    for example in examples[:30]:
        (prompt,) = TASK.prompts(example)
        assert tokenizer(prompt.source)["input_ids"] == [*reference.encode(prompt.source), 1]
        ids = tokenizer(text_target=prompt.targets[0])["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt.targets[0]


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "spiece.model"])
def test_says_what_a_directory_lacks(lacking: str, base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    (broken / lacking).unlink()
    with pytest.raises(base_model.BaseModelError, match=f"(?s){lacking}.*model.base"):
        base_model.load(broken)


def test_says_that_a_model_cannot_be_read(base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(base_model.BaseModelError, match="model.base"):
        base_model.load(broken)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network is needed, nor tried again and again."""
    from huggingface_hub import configure_http_backend

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        configure_http_backend()  # anew: an earlier session would go online
        yield
    configure_http_backend()


@pytest.mark.usefixtures("offline")
def test_says_that_the_hub_has_no_such_model() -> None:
    with pytest.raises(base_model.BaseModelError, match="nobody/nothing.*model.base"):
        base_model.load("nobody/nothing")


@pytest.mark.usefixtures("offline")
def test_tokens_are_counted_where_there_is_a_vocabulary(
    base: Path, examples: list[Example], tmp_path: Path
) -> None:
    counter = tokens.piece_counter(str(base))
    assert counter is not None
    (source,) = sources(examples[:1])
    ids = base_model.load_tokenizer(base)(source)["input_ids"]
    assert counter([source, ""]) == [len(ids) - 1, 0]
    for name in ("tiny", "nobody/nothing", str(tmp_path / "nowhere")):
        assert tokens.piece_counter(name) is None


def test_says_that_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="no such directory"):
        base_model.load(tmp_path / "nowhere")


def test_precision_of_a_small_model_is_full(base: Path) -> None:
    import torch

    model, _ = base_model.load(base)
    assert isinstance(base_model.autocast(model, "auto"), nullcontext)
    with base_model.autocast(model, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16

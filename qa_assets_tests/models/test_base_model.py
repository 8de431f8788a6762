"""Saving and loading models."""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from qa_assets.models import base_model
from qa_assets.training.features import Row


def test_tokens_are_those_of_sentencepiece(base: Path, rows: list[Row]) -> None:
    import sentencepiece

    _, tokenizer = base_model.load(base)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(base / "spiece.model"))
    for row in rows[:30]:
        assert tokenizer(row["source"])["input_ids"] == [*reference.encode(row["source"]), 1]
        ids = tokenizer(text_target=row["target"])["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["target"]


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
    with pytest.raises(base_model.BaseModelError, match="nobody/nothing.*QA_ASSETS_MODEL_BASE"):
        base_model.load("nobody/nothing")


@pytest.mark.usefixtures("offline")
def test_tokens_are_counted_where_there_is_a_vocabulary(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    counter = base_model.piece_counter(str(base))
    assert counter is not None
    ids = base_model.load_tokenizer(base)(rows[0]["source"])["input_ids"]
    assert counter([rows[0]["source"], ""]) == [len(ids) - 1, 0]
    for name in ("tiny", "nobody/nothing", str(tmp_path / "nowhere")):
        assert base_model.piece_counter(name) is None


def test_says_that_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(base_model.BaseModelError, match="no such directory"):
        base_model.load(tmp_path / "nowhere")


def test_precision_of_a_small_model_is_full(base: Path) -> None:
    import torch

    model, _ = base_model.load(base)
    assert isinstance(base_model.autocast(model, "auto"), nullcontext)
    with base_model.autocast(model, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16

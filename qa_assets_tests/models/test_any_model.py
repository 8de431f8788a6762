"""Models of several kinds, small and untrained: what matters is that and how they are asked."""

from pathlib import Path

import pytest

from qa_assets.models import any_model, tiny_t5
from qa_assets.tasks.question_answering.prompts import source_text

CONTEXT = "Rollo led the Norse. Ada lives in Kelmar. The river is the Lorne."
ROWS = [
    {"question": question, "context": context, "source": source_text(question, context)}
    for question, context in (
        ("Who led the Norse?", CONTEXT),
        ("Where does Ada live?", CONTEXT * 30),
        ("Which river?", CONTEXT),
        ("Nothing?", " "),
    )
]


@pytest.fixture(scope="module")
def extractive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT for question answering."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

    out = tmp_path_factory.mktemp("extractive")
    words = sorted({w for row in ROWS for w in row["source"].lower().replace(".", " .").split()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=64,
    ).save_pretrained(out)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertForQuestionAnswering(config).save_pretrained(out)
    return out


def test_spans_come_from_the_context(extractive: Path) -> None:
    said, confidences = any_model.answers(extractive, ROWS, "unavailable")
    assert all(text in row["context"] for text, row in zip(said, ROWS, strict=True))
    assert any(said)
    assert said[-1] == ""
    assert all(0 <= confidence <= 1 for confidence in confidences)
    alone, _ = any_model.answers(extractive, ROWS[:1], "unavailable")
    assert alone == said[:1]


def test_text_to_text_models_are_asked_by_prompt(tmp_path: Path) -> None:
    texts = [row["source"] for row in ROWS] * 5
    model = tiny_t5.create(texts, tmp_path / "t5", "unavailable", seed=1)
    said, confidences = any_model.answers(model, ROWS, "unavailable")
    assert len(said) == len(confidences) == len(ROWS)


def test_says_what_is_no_model_to_ask(extractive: Path, tmp_path: Path) -> None:
    import json
    import shutil

    with pytest.raises(any_model.ModelError, match="no such directory"):
        any_model.answers(tmp_path / "nowhere", ROWS, "unavailable")
    with pytest.raises(any_model.ModelError, match="no Hugging Face directory"):
        any_model.answers(tmp_path, ROWS, "unavailable")
    other = tmp_path / "other"
    shutil.copytree(extractive, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    with pytest.raises(any_model.ModelError, match="BertForMaskedLM does not answer"):
        any_model.answers(other, ROWS, "unavailable")
    shutil.copy(extractive / "config.json", other)
    (other / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(any_model.ModelError, match="cannot be loaded"):
        any_model.answers(other, ROWS, "unavailable")

"""Models of several kinds, small and untrained: what matters is that and how they are asked."""

from pathlib import Path

import pytest

from qa_assets.core.examples import Example, Prediction
from qa_assets.models import any_model, base_model, tiny_t5
from qa_assets_tests.training_fixtures import TASK, sources

CONTEXT = "Rollo led the Norse. Ada lives in Kelmar. The river is the Lorne."
EXAMPLES = [
    Example(question, "", {"question": question, "context": context})
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
    words = sorted({w for s in sources(EXAMPLES) for w in s.lower().replace(".", " .").split()})
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
    predictions = any_model.predict_any(extractive, TASK, EXAMPLES)
    texts = [prediction.text for prediction in predictions]
    for text, example in zip(texts, EXAMPLES, strict=True):
        assert text in example.inputs["context"]
    assert any(texts)
    assert texts[-1] == ""
    assert all(0 <= confidence(prediction) <= 1 for prediction in predictions)
    alone = any_model.predict_any(extractive, TASK, EXAMPLES[:1])
    assert [prediction.text for prediction in alone] == texts[:1]


def confidence(prediction: Prediction) -> float:
    assert prediction.confidence is not None
    return prediction.confidence


def test_text_to_text_models_are_asked_by_prompt(tmp_path: Path) -> None:
    model = tiny_t5.create(sources(EXAMPLES) * 5, tmp_path / "t5", ["unavailable"], seed=1)
    predictions = any_model.predict_any(model, TASK, EXAMPLES)
    assert len(predictions) == len(EXAMPLES)
    assert all(0 <= confidence(prediction) <= 1 for prediction in predictions)


def test_abstention_is_in_the_words_of_the_model(tmp_path: Path) -> None:
    """A model of ours that was trained with another word for it, and says nothing else."""
    import json

    path = tiny_t5.create(sources(EXAMPLES) * 5, tmp_path / "t5", ["nothing"], seed=1)
    model, tokenizer = base_model.load(path)
    (token,) = tokenizer("nothing", add_special_tokens=False)["input_ids"]
    model.generation_config.sequence_bias = [[[token], 100.0]]
    base_model.save(model, tokenizer, path)
    said = any_model.predict_any(path, TASK, EXAMPLES[:1])[0].text
    assert set(said.split()) == {"nothing"}
    (path / "calibration.json").write_text(json.dumps({"null_text": said}))
    assert any_model.predict_any(path, TASK, EXAMPLES[:1])[0].text == ""


def test_says_what_is_no_model_to_ask(extractive: Path, tmp_path: Path) -> None:
    import json
    import shutil

    with pytest.raises(any_model.ModelError, match="no such directory"):
        any_model.predict_any(tmp_path / "nowhere", TASK, EXAMPLES)
    with pytest.raises(any_model.ModelError, match="no Hugging Face directory"):
        any_model.predict_any(tmp_path, TASK, EXAMPLES)
    other = tmp_path / "other"
    shutil.copytree(extractive, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    with pytest.raises(any_model.ModelError, match="BertForMaskedLM does not do question_answerin"):
        any_model.predict_any(other, TASK, EXAMPLES)
    shutil.copy(extractive / "config.json", other)
    (other / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(any_model.ModelError, match="cannot be loaded"):
        any_model.predict_any(other, TASK, EXAMPLES)
    (other / "model.safetensors").unlink()
    (other / "pytorch_model.bin").write_bytes(b"a pickle, which could run code")
    with pytest.raises(any_model.ModelError, match="cannot be loaded"):
        any_model.predict_any(other, TASK, EXAMPLES)

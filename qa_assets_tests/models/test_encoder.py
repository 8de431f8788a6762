"""Encoders with a classification head: loss, labels, abstention, and ONNX exports as a base."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, onnx_weights, tiny_bert
from qa_assets.models.base_model import BaseModelError
from qa_assets.models.encoder import Encoder
from qa_assets.models.task_model import PredictOptions
from qa_assets.tasks.classification import Classification
from qa_assets.training import dataset
from qa_assets_tests.training_fixtures import CONFIG

LABELS = ("alarm", "music", "weather", "oos")
TASK = Classification(out_of_scope="oos", label_names=LABELS)
SEVERAL = Classification(multi_label=True, label_names=LABELS)
TEXTS = {
    "set an alarm for seven": ["alarm"], "wake me at noon": ["alarm"], "play some jazz": ["music"],
    "will it rain in rome": ["weather"], "is it cold": ["weather"], "who was caesar": [],
}  # fmt: skip
EXAMPLES = [
    Example(str(number), text, {"text": text}, labels)
    for number, (text, labels) in enumerate(TEXTS.items())
]
OPTIONS = PredictOptions(max_source_tokens=16, batch_size=4, precision="fp32")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head for LABELS on a tiny BERT, both with random weights of some size."""
    import torch

    home = tmp_path_factory.mktemp("encoder")
    encoder = Encoder.load(tiny_bert.create([*TEXTS] * 3, home / "base", 1), TASK)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return base_model.save(encoder.model, encoder.tokenizer, home / "model")


def logits_of(encoder: Encoder) -> Any:
    import torch

    with torch.no_grad():
        return encoder.model(**logits_inputs(encoder.tokenizer)).logits


@pytest.mark.parametrize("task", [TASK, SEVERAL], ids=["one label", "several"])
def test_loss_is_that_of_transformers(model_dir: Path, task: Classification) -> None:
    import torch

    encoder = Encoder.load(model_dir, task)
    batch = dataset.encode(EXAMPLES, task, encoder.tokenizer, CONFIG).batch(
        list(range(len(EXAMPLES))), 0
    )
    expected = torch.zeros(len(EXAMPLES), len(LABELS))
    for row, labels in enumerate(TEXTS.values()):
        for label in labels or (["oos"] if task is TASK else []):
            expected[row, LABELS.index(label)] = 1
    targets = expected.argmax(-1) if task is TASK else expected
    mean = encoder.model.eval()(**logits_inputs(encoder.tokenizer), labels=targets).loss
    loss = encoder.loss(0.0)(**batch)
    assert loss.item() == pytest.approx(float(mean) * len(EXAMPLES), rel=1e-4)


def logits_inputs(tokenizer: Any) -> Any:
    return tokenizer([*TEXTS], padding=True, return_tensors="pt")


def test_probabilities_are_those_of_the_logits(model_dir: Path) -> None:
    for task in (TASK, SEVERAL):
        encoder = Encoder.load(model_dir, task)
        logits = logits_of(encoder)
        expected = logits.softmax(-1) if task is TASK else logits.sigmoid()
        outputs = encoder.outputs([*TEXTS], OPTIONS)
        for output, row in zip(outputs, expected.tolist(), strict=True):
            assert list(output.probabilities) == list(LABELS)
            assert list(output.probabilities.values()) == pytest.approx(row, abs=1e-5)
            assert output.confidence == max(output.probabilities.values())


def test_labels_keep_their_weights_in_whatever_order(model_dir: Path) -> None:
    """And a head for other labels gives way to a new one, the same each time."""
    encoder = Encoder.load(model_dir, TASK)
    other = ("oos", "weather", "alarm", "music")
    reordered = Encoder.load(model_dir, TASK.model_copy(update={"label_names": other}))
    assert reordered.model.config.id2label == dict(enumerate(other))
    order = [LABELS.index(label) for label in other]
    expected = logits_of(encoder)[:, order]
    assert logits_of(reordered).numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    new = Classification(label_names=("x", "y"))
    heads = [Encoder.load(model_dir, new).model.classifier.weight for _ in range(2)]
    assert heads[0].shape[0] == 2
    assert heads[0].tolist() == heads[1].tolist()


def test_the_calibrated_bias_is_in_the_head(model_dir: Path, tmp_path: Path) -> None:
    """Margins leave it out; a text is abstained on where margin and bias are above 0."""
    copy = shutil.copytree(model_dir, tmp_path / "model")
    margins, otherwise = Encoder.load(copy, TASK).abstention_margins(EXAMPLES, OPTIONS)
    bias = -sorted(margins)[2] + 1e-3
    for value in (5.0, bias):
        Encoder.set_abstention_bias(copy, TASK, value)
    encoder = Encoder.load(copy, TASK)
    again, _ = encoder.abstention_margins(EXAMPLES, OPTIONS)
    assert again == pytest.approx(margins, abs=1e-4)
    predictions = encoder.predict(EXAMPLES, OPTIONS)
    assert [prediction.text == "" for prediction in predictions] == [
        margin + bias > 0 for margin in margins
    ]
    assert 0 < sum(prediction.text == "" for prediction in predictions) < len(EXAMPLES)
    assert all(prediction.text in LABELS[:3] for prediction in otherwise)
    Encoder.set_abstention_bias(copy, TASK, 0.0)
    assert "abstention_bias" not in json.loads((copy / "config.json").read_text())
    with pytest.raises(BaseModelError, match="'none', the label that abstains, is not in train"):
        encoder.abstention_id(encoder.tokenizer, TASK.model_copy(update={"out_of_scope": "none"}))


def test_an_onnx_export_is_a_base(model_dir: Path, tmp_path: Path) -> None:
    from optimum.exporters.onnx import main_export

    main_export(
        str(model_dir), str(tmp_path / "onnx"), task="text-classification", do_validation=False
    )
    assert not list((tmp_path / "onnx").glob("*.safetensors"))
    encoder = Encoder.load(model_dir, TASK)
    read = Encoder.load(tmp_path / "onnx", TASK)
    assert logits_of(read).tolist() == logits_of(encoder).tolist()
    other = Encoder.load(tmp_path / "onnx", Classification(label_names=("x", "y"))).model
    assert other.config.id2label == {0: "x", 1: "y"}
    pooled = "bert.pooler.dense.weight"
    assert other.state_dict()[pooled].tolist() == encoder.model.state_dict()[pooled].tolist()


def test_what_is_no_export_of_the_model_is_named(model_dir: Path, tmp_path: Path) -> None:
    import onnx

    copy = shutil.copytree(model_dir, tmp_path / "model")
    (copy / "model.safetensors").unlink()
    (copy / onnx_weights.FILE).write_bytes(b"no protocol buffer")
    with pytest.raises(BaseModelError, match="no ONNX file"):
        Encoder.load(copy, TASK)
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])),
        copy / onnx_weights.FILE,
    )
    with pytest.raises(BaseModelError, match=r"lacks bert\..*export it by optimum-cli"):
        Encoder.load(copy, TASK)

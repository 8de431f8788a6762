"""Encoders exported to ONNX: ONNX Runtime and Spark NLP give transformers' probabilities."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_assets.core.examples import Prediction
from qa_assets.deployment import provenance, serving
from qa_assets.deployment.engines import onnx_encoder
from qa_assets.deployment.engines.spark_nlp import SparkNlpError, load_model
from qa_assets.models.base_model import load_tokenizer, save
from qa_assets.models.loading import load
from qa_assets.models.logit_bias import ExportError
from qa_assets.models.task_model import PredictOptions
from qa_assets.tasks.classification import TASK

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LABELS = ("balance", "transfer money", "c_d")
OPTIONS = PredictOptions(max_source_tokens=24, precision="fp32")
TEXTS = [
    "what's my balance, please?",
    "transfer $100 from checking to savings",
    "i don't want it",
    "hello (world) -- a/b  c_d\n\tnext line",
    "Zoë Müller paid 3,20 €",
    "太郎は東京 😀",  # nothing of it is in the vocabulary
    "[CLS] [PAD] <s> </s> <pad> is plain text",
    "piece1 piece2 [UNK] ##s Ġthe",
    "x " * 100,
]
TASK_OF = {several: TASK(label_names=LABELS, multi_label=several) for several in (False, True)}


def make_classifier(kind: str, out: Path, several: bool = False) -> Path:
    """A classifier with random weights, whose tokenizer knows the words of TEXTS."""
    import tokenizers
    import torch
    import transformers

    out.mkdir(parents=True)
    sizes = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 130,
    }  # fmt: skip
    words = [*TEXTS[:5], *TEXTS[6:]]
    if kind == "bert":
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pieces: Any = tokenizers.BertWordPieceTokenizer(lowercase=True)
    else:
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        pieces = tokenizers.ByteLevelBPETokenizer()
    pieces.train_from_iterator(words, vocab_size=300, special_tokens=special, show_progress=False)
    pieces.save_model(str(out))
    torch.manual_seed(1)
    if kind == "bert":
        tokenizer: Any = transformers.BertTokenizerFast(str(out / "vocab.txt"))
        config: Any = transformers.BertConfig(vocab_size=len(tokenizer) + 2, **sizes)
        model: Any = transformers.BertForSequenceClassification
    else:
        files = str(out / "vocab.json"), str(out / "merges.txt")
        tokenizer = transformers.RobertaTokenizerFast(*files)
        config = transformers.RobertaConfig(vocab_size=len(tokenizer), **sizes)
        model = transformers.RobertaForSequenceClassification
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: number for number, label in enumerate(LABELS)}
    if several:
        config.problem_type = "multi_label_classification"
    classifier = model(config)
    with torch.no_grad():  # else all texts are much the same
        for parameter in classifier.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return save(classifier, tokenizer, out / "model")


def transformers_outputs(model_dir: Path, several: bool) -> list[Prediction]:
    return load(model_dir, TASK_OF[several]).outputs(TEXTS, OPTIONS)


def require_same(outputs: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    assert len({round(output.probabilities[LABELS[0]], 4) for output in expected}) > 5
    assert [output.text for output in outputs] == [output.text for output in expected]
    for output, other in zip(outputs, expected, strict=True):
        assert output.probabilities == pytest.approx(dict(other.probabilities), abs=1e-5)
        assert output.confidence == output.probabilities[output.text]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A RoBERTa, whose padding is not id 0 and which has no segments; and its export."""
    place = tmp_path_factory.mktemp("roberta")
    model = make_classifier("roberta", place / "hf")
    onnx_encoder.export(model, place / "onnx")
    return model, place / "onnx"


@pytest.mark.parametrize("several", [False, True])
def test_onnx_runtime_gives_the_probabilities_of_a_bert(tmp_path: Path, several: bool) -> None:
    model = make_classifier("bert", tmp_path / "hf", several)
    onnx_encoder.export(model, tmp_path / "onnx")
    outputs = onnx_encoder.classify(tmp_path / "onnx", TEXTS, max_tokens=24)
    require_same(outputs, transformers_outputs(model, several))
    total = sum(outputs[0].probabilities.values())
    assert total == pytest.approx(1) if not several else total != pytest.approx(1)


def test_onnx_runtime_gives_the_probabilities_of_a_roberta(roberta: tuple[Path, Path]) -> None:
    model, exported = roberta
    outputs = onnx_encoder.classify(exported, TEXTS, max_tokens=24, threads=1)
    require_same(outputs, transformers_outputs(model, False))


def test_int8_is_near(tmp_path: Path, roberta: tuple[Path, Path]) -> None:
    onnx_encoder.quantize(roberta[1], tmp_path / "int8", keep=[])
    full = onnx_encoder.classify(roberta[1], TEXTS, max_tokens=24)
    outputs = onnx_encoder.classify(tmp_path / "int8", TEXTS, max_tokens=24)
    differences = [
        abs(output.probabilities[label] - other.probabilities[label])
        for output, other in zip(outputs, full, strict=True)
        for label in LABELS
    ]
    assert 0 < max(differences) < 0.05
    assert (tmp_path / "int8" / "model.onnx").stat().st_size < 0.9 * (
        roberta[1] / "model.onnx"
    ).stat().st_size


def test_spark_nlp_gives_the_probabilities(
    spark: "SparkSession", roberta: tuple[Path, Path], tmp_path: Path
) -> None:
    model, exported = roberta
    expected = transformers_outputs(model, False)
    place = tmp_path / "served"
    serving.import_onnx(spark, TASK_OF[False], exported, place, OPTIONS)
    made_of = provenance.Provenance("spark_nlp", TASK_OF[False].spec(), 8, 24, 0, "fp32", {})
    provenance.write(place, made_of)
    require_same(serving.outputs(spark, place, TEXTS), expected)

    rows = [*enumerate(TEXTS), (100, None), (101, " \n"), (102, ""), (103, "x" * 200_000)]
    frame = spark.createDataFrame(rows, "row int, text string").repartition(3)
    predictor = serving.predictor(spark, place)
    predicted = {row["row"]: row for row in predictor.by_spark(frame).collect()}
    assert len(predicted) == len(rows)
    for number, output in enumerate(expected):
        prediction = predicted[number]["prediction"]
        assert predicted[number]["text"] == TEXTS[number]
        assert prediction["text"] == output.text
        assert prediction["confidence"] == pytest.approx(output.confidence, abs=1e-5)
        assert prediction["probabilities"] == pytest.approx(dict(output.probabilities), abs=1e-5)
    assert [predicted[number]["prediction"] for number in (100, 101, 102, 103)] == [None] * 4
    assert predictor.in_driver is not None
    in_driver = predictor.in_driver([{"text": text} for _, text in rows if text is not None])
    assert in_driver == [
        row["prediction"] and Prediction(**row["prediction"].asDict())
        for number, row in sorted(predicted.items())
        if number != 100
    ]

    from sparknlp.annotator import BertForSequenceClassification

    # labels that exclude no other
    model = load_model(place / serving.PIPELINE, BertForSequenceClassification)
    assert model.getOrDefault("threshold") == 0
    with pytest.raises(SparkNlpError, match="this session has imported a model before"):
        serving.import_onnx(spark, TASK_OF[True], exported, tmp_path / "again", OPTIONS)


def test_an_incomplete_export_is_named(spark: "SparkSession", tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    with pytest.raises(SparkNlpError, match=r"has no model.onnx: export the model"):
        serving.import_onnx(spark, TASK_OF[False], tmp_path / "onnx", tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out" / serving.PIPELINE).exists()


def test_what_spark_nlp_cannot_run_is_named(tmp_path: Path) -> None:
    model = make_classifier("bert", tmp_path / "hf")
    config = json.loads((model / "config.json").read_text())
    config["id2label"]["0"] = "sentence"
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="'sentence': rename it in the data"):
        onnx_encoder.export(model, tmp_path / "onnx")
    tokenizer = load_tokenizer(model)
    tokenizer.pad_token = None
    with pytest.raises(ExportError, match="with tokens for padding"):
        from qa_assets.deployment.engines import pieces

        pieces.save(tokenizer, 10, tmp_path)
    assert not (tmp_path / "onnx").exists()

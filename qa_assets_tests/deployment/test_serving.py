"""Both engines predict frames of rows alike, and no bad row harms another."""

import gc
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qa_assets.core.examples import Budget, Example, Prediction
from qa_assets.deployment import provenance, serving
from qa_assets.deployment.config import EngineName
from qa_assets.deployment.provenance import Provenance, ProvenanceError
from qa_assets.models import base_model
from qa_assets.models.tokens import SPIECE, PieceCounter
from qa_assets_tests.deployment.conftest import MAX_NEW_TOKENS, QA, transformers_outputs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = tuple[str | None, str | None]
GOOD = [
    ("Who wrote the first program?", "Ada Lovelace wrote the first program in 1843."),
    ("What of the heron?", "The heron eats fish, frogs & insects; it weighs 1.5 kg."),
    ("Why?", "Marie Curie won the Nobel Prize twice (physics, chemistry)."),
    ("Who paid?", "Zoë Müller naïvely paid €3.20 for a café crème."),
    ("Where?", "The Danube flows through Vienna, Budapest and Belgrade."),
]
# many windows of the 40 tokens that the models here read at once
LONG = ("Who paid?", " ".join(f"{context} Again {n}." for n in range(4) for _, context in GOOD))
ODD = {  # the model is asked, whatever it says
    "control characters": ("Who\x01 wrote\x1b[0m?", "Ada\x07 Lovelace\x0b wrote\x7f it."),
    "null character": ("Who\x00?", "Ada\x00 wrote the first program."),
    "only emoji": ("😀🎉?", "🙂🙃 👩‍👧 🍎"),
    "direction marks": ("Who\u202e?", "\u200fAda wrote\u2066 it.\ufeff"),
}
REFUSED: Mapping[str, Row] = {
    "empty question": ("", "Ada wrote the first program."),
    "empty context": ("Who?", ""),
    "blank": (" \u3000", "\n\t\u00a0"),
    "null question": (None, "Ada wrote the first program."),
    "null context": ("Who?", None),
    "10 MB": ("Who?", "Ada wrote the first program. " * 350_000),
}
ENGINES: tuple[EngineName, ...] = ("spark_nlp", "ctranslate2")


@pytest.fixture(scope="module")
def directories(
    model_dir: Path,
    ctranslate2_dir: Path,
    pipeline_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[EngineName, Path]:
    """Serving models, by engine."""
    home = tmp_path_factory.mktemp("serving")
    shutil.copytree(pipeline_dir, home / "spark_nlp" / serving.PIPELINE)
    shutil.copy(model_dir / SPIECE, home / "spark_nlp")
    shutil.copytree(ctranslate2_dir, home / "ctranslate2")
    for engine in ENGINES:
        written = Provenance(engine, QA.spec(), MAX_NEW_TOKENS, 40, 10, "fp32", {})
        provenance.write(home / engine, written)
    return {engine: home / engine for engine in ENGINES}


def predict(spark: "SparkSession", directory: Path, rows: Sequence[Row]) -> list[Prediction | None]:
    """Predictions in the order of the rows, which lie in one batch."""
    frame = spark.createDataFrame(
        [(number, {"key": str(number)}, *row) for number, row in enumerate(rows)],
        "row int, metadata map<string,string>, question string, context string",
    ).coalesce(1)
    result = serving.predictor(spark, directory).by_spark(frame)
    assert result.columns == [*frame.columns, "prediction"]
    collected = sorted(result.collect(), key=lambda row: row["row"])
    assert [(row["question"], row["context"]) for row in collected] == list(rows)
    assert [row["metadata"] for row in collected] == [{"key": str(n)} for n in range(len(rows))]
    structs = [row["prediction"] for row in collected]
    predictions = [struct and Prediction(**struct.asDict()) for struct in structs]
    asked = {
        number: {"question": question, "context": context}
        for number, (question, context) in enumerate(rows)
        if question is not None and context is not None
    }
    in_driver = serving.predictor(spark, directory).in_driver
    assert in_driver is not None
    assert in_driver(list(asked.values())) == [predictions[number] for number in asked]
    return predictions


def texts(predictions: Sequence[Prediction | None]) -> list[str | None]:
    return [prediction.text if prediction else None for prediction in predictions]


@pytest.mark.parametrize("engine", ENGINES)
def test_predictions_are_those_of_transformers(
    spark: "SparkSession", directories: dict[EngineName, Path], model_dir: Path, engine: EngineName
) -> None:
    """Windows of a long context and abstentions included."""
    model, tokenizer = base_model.load(model_dir)
    unused = range(len(tokenizer), model.config.vocab_size)
    model.generation_config.suppress_tokens = list(unused)
    budget = Budget(PieceCounter(model_dir / SPIECE), 40, 10)
    expected = []
    for question, context in [*GOOD, LONG]:
        example = Example("", "", {"question": question, "context": context})
        prompts = QA.prompts(example, budget)
        outputs = transformers_outputs(model, tokenizer, [prompt.source for prompt in prompts])
        if engine == "spark_nlp":
            outputs = [Prediction(output.text) for output in outputs]
        expected.append(QA.resolve(outputs))
    assert len(prompts) > 5
    predictions = predict(spark, directories[engine], [*GOOD, LONG])
    assert texts(predictions) == [prediction.text for prediction in expected]
    confidences = [prediction.confidence for prediction in predictions if prediction]
    if engine == "ctranslate2":
        assert confidences == pytest.approx([each.confidence for each in expected], abs=1e-5)
        assert all(confidence is not None and 0 < confidence < 1 for confidence in confidences)
    else:
        assert set(confidences) == {None}


@pytest.mark.parametrize("engine", ENGINES)
def test_bad_rows_harm_nobody(
    spark: "SparkSession", directories: dict[EngineName, Path], engine: EngineName
) -> None:
    alone = texts(predict(spark, directories[engine], GOOD))
    bad = [*REFUSED.values(), *ODD.values()]
    rows: list[Row] = []
    for number, row in enumerate(bad):
        rows += [row, GOOD[number % len(GOOD)]]
    predictions = predict(spark, directories[engine], rows)
    expected = [alone[number % len(GOOD)] for number in range(len(bad))]
    assert texts(predictions[1::2]) == expected
    assert predictions[: 2 * len(REFUSED) : 2] == [None] * len(REFUSED)
    assert None not in predictions[2 * len(REFUSED) :]


@pytest.mark.parametrize("engine", ENGINES)
def test_predicting_in_the_driver_keeps_the_model_alive(
    spark: "SparkSession", directories: dict[EngineName, Path], engine: EngineName
) -> None:
    in_driver = serving.predictor(spark, directories[engine]).in_driver
    gc.collect()
    assert in_driver is not None
    inputs = [dict(zip(("question", "context"), row, strict=True)) for row in GOOD]
    for _ in range(3):  # py4j releases objects of the JVM some calls later
        assert None not in in_driver(inputs)


@pytest.mark.parametrize("engine", ENGINES)
def test_bytes_that_are_no_text_become_replacement_characters(
    spark: "SparkSession", directories: dict[EngineName, Path], engine: EngineName
) -> None:
    """A lone surrogate, as UTF-8 would have it, and an end that is cut off."""
    from pyspark.sql import functions as sf

    question, context = GOOD[0]
    broken, mended = b"Ada \xed\xa0\x80 wrote it \xe2\x82", "Ada \ufffd\ufffd\ufffd wrote it \ufffd"
    frame = spark.createDataFrame(
        [(bytearray(broken),), (bytearray(context.encode()),)], "context binary"
    )
    frame = frame.select(sf.lit(question).alias("question"), sf.col("context").cast("string"))
    predicted = serving.predictor(spark, directories[engine]).by_spark(frame.coalesce(1))
    rows = predicted.select("prediction.text").collect()
    expected = predict(spark, directories[engine], [(question, mended), (question, context)])
    assert [row["text"] for row in rows] == texts(expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frame_may_be_filtered_by_its_predictions(
    spark: "SparkSession", directories: dict[EngineName, Path], engine: EngineName
) -> None:
    rows: list[Row] = [*GOOD, *REFUSED.values()]
    frame = spark.createDataFrame(rows, "question string, context string")
    predicted = serving.predictor(spark, directories[engine]).by_spark(frame)
    kept = predicted.where("prediction is not null").select("question", "prediction.text")
    assert sorted(row["question"] for row in kept.collect()) == sorted(row[0] for row in GOOD)


def test_a_changed_model_is_refused(
    spark: "SparkSession", directories: dict[EngineName, Path], tmp_path: Path
) -> None:
    shutil.copytree(directories["ctranslate2"], tmp_path / "changed")
    (tmp_path / "changed" / "config.json").write_text("{}")
    with pytest.raises(ProvenanceError, match=r"config\.json is not what"):
        serving.predictor(spark, tmp_path / "changed")


def test_the_source_of_a_short_row_is_its_prompt(model_dir: Path) -> None:
    served = Provenance("ctranslate2", QA.spec(), MAX_NEW_TOKENS, 40, 10, "fp32", {})
    reader = serving.Reader(QA, model_dir, served)
    prompt = QA.prompts(Example("", "", {"question": "Who?", "context": "Zoë."}))[0]
    assert reader.sources([b"Who?", "Zoë.".encode()]) == [prompt.source]

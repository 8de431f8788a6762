"""A serving model's directory: written from ONNX graphs, read as a `Predictor`.

The only interface to all engines: callers know the task's inputs and predictions, and nothing of
prompts, windows and abstention. How predictions become responses is in `streaming`.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core.examples import Budget, Example, Prediction
from qa_assets.core.task import Task, load_task
from qa_assets.deployment import provenance
from qa_assets.deployment.engines import pieces
from qa_assets.deployment.provenance import Provenance
from qa_assets.models import ctranslate2
from qa_assets.models.task_model import PredictOptions
from qa_assets.models.tokens import SPIECE, PieceCounter
from qa_assets.spark import driver_cores

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

PREDICTION = "prediction"
PREDICTION_TYPE = "struct<text: string, confidence: double, probabilities: map<string, double>>"
"""Of the column: the fields of a `Prediction`; null for a row that no model is asked about."""
PIPELINE = "pipeline"
"""Spark NLP's directory within that of a serving model; CTranslate2 has no other."""
MAX_CHARACTERS = 100_000
"""Of all inputs of a row together: a window takes some 20 ms."""
_PROMPTS = "qa_assets_prompts"


@dataclass(frozen=True)
class Predictor:
    """Predicts with the model in a directory; `predictor` makes it.

    A row with an input that is null or blank, or with inputs that are too long together, gets a
    null prediction, and changes nothing for the others.

    Attributes:
        by_spark: adds the column `prediction` to a frame with the task's inputs as text columns;
            rows and other columns stay as they are. Lazy: each action on the result runs the model
            again, unless it is persisted.
        in_driver: predicts rows, the inputs of each by name, in this process and its JVM, if it
            can. Its predictions are those of `by_spark`; for a few, a Spark job takes longer than
            the model.
    """

    by_spark: Callable[["DataFrame"], "DataFrame"]
    in_driver: Callable[[Sequence[Mapping[str, str]]], list[Prediction | None]] | None = None


def predictor(spark: "SparkSession", directory: Path) -> Predictor:
    """The predictor of the model in a directory, run by the engine that its provenance names.

    The workers of a cluster read the same path, and have qa_assets installed.

    Raises:
        ProvenanceError: there is no serving model, or its files were changed.
        SparkNlpError: Spark NLP cannot load it.
    """
    served = provenance.read(directory)
    reader = Reader(load_task(**served.task), directory, served)
    if served.engine == "ctranslate2":
        return _ctranslate2(reader, driver_cores(spark))
    return _spark_nlp(reader)


def _ctranslate2(reader: "Reader", cores: int) -> Predictor:
    task = reader.task

    def by_spark(frame: "DataFrame") -> "DataFrame":
        outputs = partial(_ctranslate2_outputs, reader, 1)  # a task of Spark's has one core
        return frame.withColumn(PREDICTION, _prediction_column(task, outputs, *_as_bytes(task)))

    def in_driver(rows: Sequence[Mapping[str, str]]) -> list[Prediction | None]:
        return _resolved(task, _ctranslate2_outputs(reader, cores, *reader.columns(rows)))

    return Predictor(by_spark, in_driver)


def _spark_nlp(reader: "Reader") -> Predictor:
    import pandas as pd
    from pyspark.sql import functions as sf

    task = reader.task
    transform, generate = _load_spark_nlp(reader.directory, task)

    def read(*columns: pd.Series) -> pd.Series:
        return pd.Series(list(map(reader.sources, zip(*columns, strict=True))), dtype=object)

    def by_spark(frame: "DataFrame") -> "DataFrame":
        prompts = sf.pandas_udf(read, "array<string>")(*_as_bytes(task))
        predictions = _prediction_column(task, partial(map, _predictions), _PROMPTS)
        outputs = transform(frame.withColumn(_PROMPTS, prompts))
        return outputs.withColumn(PREDICTION, predictions).drop(_PROMPTS)

    def in_driver(rows: Sequence[Mapping[str, str]]) -> list[Prediction | None]:
        sources = map(reader.sources, zip(*reader.columns(rows), strict=True))
        return _resolved(task, map(_predictions, generate(list(sources))))

    return Predictor(by_spark, in_driver)


def _load_spark_nlp(
    directory: Path, task: Task
) -> tuple[Callable[["DataFrame"], "DataFrame"], Callable[[list[list[str]]], Any]]:
    """What puts the outputs of the pipeline in a directory in the place of the texts it reads.

    The first does so in a frame, the second for rows, in the driver.
    """
    from sparknlp.annotator import BertForSequenceClassification, T5Transformer

    from qa_assets.deployment.engines import spark_nlp, spark_nlp_encoder

    encoder = task.kind == "encoder"
    kind = BertForSequenceClassification if encoder else T5Transformer
    model = spark_nlp.load_model(directory / PIPELINE, kind)
    transform = spark_nlp_encoder.classify if encoder else spark_nlp.generate
    in_driver = spark_nlp_encoder.classify_in_driver if encoder else spark_nlp.generate_in_driver
    return (
        partial(transform, model, source=_PROMPTS, output=_PROMPTS),
        partial(in_driver, spark_nlp.Annotator(model)),
    )


def import_onnx(
    spark: "SparkSession", task: Task, onnx_dir: Path, out: Path, options: PredictOptions
) -> None:
    """Make a serving model of ONNX graphs: a Spark NLP pipeline, and what a `Reader` reads.

    `onnx_dir` is what `onnx_export` or `onnx_encoder` wrote; `out` is left without provenance.

    Raises:
        SparkNlpError: `onnx_dir` is not an exported model, or this session has imported one before.
    """
    from qa_assets.deployment.engines import spark_nlp, spark_nlp_encoder
    from qa_assets.deployment.engines.onnx_export import SENTENCE_PIECE

    if task.kind == "encoder":
        spark_nlp_encoder.import_onnx(
            spark, onnx_dir, out / PIPELINE,
            max_tokens=options.max_source_tokens, exclusive=task.exclusive_labels,
        )  # fmt: skip
        shutil.copy(onnx_dir / pieces.TOKENIZER, out)
    else:
        longest = options.max_new_tokens
        spark_nlp.import_onnx(spark, onnx_dir, out / PIPELINE, max_new_tokens=longest)
        shutil.copy(onnx_dir / SENTENCE_PIECE, out)


def outputs(spark: "SparkSession", directory: Path, sources: Sequence[str]) -> list[Prediction]:
    """What the Spark NLP pipeline in a directory says to the sources of prompts."""
    served = provenance.read(directory)
    reader = Reader(load_task(**served.task), directory, served)
    frame = spark.createDataFrame(
        list(enumerate(map(reader.texts, sources))), f"row int, {_PROMPTS} array<string>"
    ).repartition(spark.sparkContext.defaultParallelism)
    transform, _ = _load_spark_nlp(directory, reader.task)
    result = transform(frame)
    return [_predictions(row[_PROMPTS])[0] for row in result.orderBy("row").collect()]


@dataclass(frozen=True)
class Reader:
    """Makes prompts of rows, in Spark's workers.

    A row is the task's inputs, in their order, in UTF-8; other bytes become U+FFFD.

    Attributes:
        task: of the model.
        directory: of the model, with its tokenizer.
        served: the model's provenance, which has the limits of a prompt.
    """

    task: Task
    directory: Path
    served: Provenance

    def sources(self, row: Sequence[bytes | None]) -> list[str]:
        """The texts of all prompts of a row; none where no model is asked."""
        inputs = self._inputs(row)
        if inputs is None:
            return []
        served, budget = self.served, None
        if self.task.kind != "encoder":
            budget = Budget(
                _counter(self.directory), served.max_source_tokens, served.window_overlap_tokens
            )
        prompts = self.task.prompts(Example(id="", group="", inputs=inputs), budget)
        return [text for prompt in prompts for text in self.texts(prompt.source)]

    def columns(self, rows: Sequence[Mapping[str, str]]) -> list[list[bytes]]:
        """The inputs of rows as `sources` reads them, by input."""
        return [[row[name].encode() for row in rows] for name in self.task.messages.inputs]

    def texts(self, source: str) -> list[str]:
        """What a model reads of a prompt: its source, or the pieces of it, for an encoder."""
        if self.task.kind == "encoder":
            return pieces.load(self.directory, self.served.max_source_tokens)(source)
        return [source]

    def _inputs(self, row: Sequence[bytes | None]) -> Mapping[str, str] | None:
        present = [value for value in row if value is not None]
        # 4 bytes a character at most: what is certainly too long is not decoded
        if len(present) < len(row) or sum(map(len, present)) > 4 * MAX_CHARACTERS:
            return None
        texts = [value.decode("utf-8", "replace") for value in present]
        if not all(text.strip() for text in texts) or sum(map(len, texts)) > MAX_CHARACTERS:
            return None
        return dict(zip(self.task.messages.inputs, texts, strict=True))


@cache
def _counter(directory: Path) -> PieceCounter:
    return PieceCounter(directory / SPIECE)


def _predictions(outputs: Sequence[str] | Mapping[str, float] | None) -> list[Prediction]:
    """Texts, or the probabilities of labels, as predictions; none for null."""
    if outputs is None:
        return []
    if isinstance(outputs, Mapping):
        best = max(outputs, key=outputs.__getitem__)
        return [Prediction(best, outputs[best], outputs)]
    return list(map(Prediction, outputs))


def _as_bytes(task: Task) -> list["Column"]:
    """The columns of a task's inputs, since Arrow fails on texts that are not UTF-8."""
    from pyspark.sql import functions as sf

    return [sf.col(name).cast("binary") for name in task.messages.inputs]


def _ctranslate2_outputs(
    reader: Reader, workers: int, *columns: Iterable[bytes | None]
) -> list[list[Prediction]]:
    """The outputs for each row; a process keeps the model."""
    model = ctranslate2.load(reader.directory, workers)
    rows = [reader.sources(row) for row in zip(*columns, strict=True)]
    sources = list(chain.from_iterable(rows))
    longest = reader.served.max_new_tokens
    outputs = iter(ctranslate2.generate(model, sources, max_new_tokens=longest))
    return [list(islice(outputs, len(row))) for row in rows]


def _resolved(task: Task, outputs: Iterable[Sequence[Prediction]]) -> list[Prediction | None]:
    """The prediction resolved from the outputs for each row; None where there are none."""
    return [task.resolve(row) if row else None for row in outputs]


def _prediction_column(
    task: Task, outputs_of: Callable[..., Iterable[Sequence[Prediction]]], *columns: "Column | str"
) -> "Column":
    """The prediction resolved from the outputs for each row; null where there are none."""
    import pandas as pd
    from pyspark.sql import functions as sf

    def structs(*values: pd.Series) -> pd.Series:
        predictions = _resolved(task, outputs_of(*values))
        # in a list a struct can be null
        lists = [[] if prediction is None else [asdict(prediction)] for prediction in predictions]
        return pd.Series(lists, dtype=object)

    function = sf.pandas_udf(structs, f"array<{PREDICTION_TYPE}>")
    # a filter on the result would otherwise be pushed down, and compute the predictions twice
    column: Column = sf.get(function.asNondeterministic()(*columns), sf.lit(0))
    return column

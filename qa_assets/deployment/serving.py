"""A serving model's directory: written from ONNX graphs, read as a function on Spark frames.

The only interface to all engines: callers know the task's inputs and predictions, and nothing of
prompts, windows and abstention. How predictions become responses is in `streaming`.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
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

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame, SparkSession

Predictor = Callable[["DataFrame"], "DataFrame"]
"""Adds the column `prediction` to a frame with the task's inputs as text columns.

Rows and other columns stay as they are. Lazy: each action on the result runs the model again,
unless it is persisted.
"""
PREDICTION = "prediction"
PREDICTION_TYPE = "struct<text: string, confidence: double, probabilities: map<string, double>>"
"""Of the column: the fields of a `Prediction`; null for a row that no model is asked about."""
PIPELINE = "pipeline"
"""Spark NLP's directory within that of a serving model; CTranslate2 has no other."""
MAX_CHARACTERS = 100_000
"""Of all inputs of a row together: a window takes some 20 ms."""
_PROMPTS = "qa_assets_prompts"


def predictor(spark: "SparkSession", directory: Path) -> Predictor:
    """The predictor of the model in a directory, run by the engine that its provenance names.

    The workers of a cluster read the same path, and have qa_assets installed. A row with an input
    that is null or blank, or with inputs that are too long together, gets a null prediction, and
    changes nothing for the others.

    Raises:
        ProvenanceError: there is no serving model, or its files were changed.
        SparkNlpError: Spark NLP cannot load it.
    """
    served = provenance.read(directory)
    reader = Reader(load_task(**served.task), directory, served)
    if served.engine == "ctranslate2":
        column = _ctranslate2_column(reader, directory)
        return lambda frame: frame.withColumn(PREDICTION, column)

    from qa_assets.deployment.engines import spark_nlp, spark_nlp_encoder

    pipeline = spark_nlp.load_pipeline(spark, directory / PIPELINE)
    encoder = reader.task.kind == "encoder"
    model = spark_nlp_encoder.classify if encoder else spark_nlp.generate
    read = _read_column(reader, reader.pieces if encoder else reader.sources)
    resolved = _resolved_column(reader.task, _of_labels if encoder else _of_texts)

    def predict(frame: "DataFrame") -> "DataFrame":
        prompted = frame.withColumn(_PROMPTS, read)
        outputs = model(pipeline, prompted, source=_PROMPTS, output=_PROMPTS)
        return outputs.withColumn(PREDICTION, resolved).drop(_PROMPTS)

    return predict


def import_onnx(
    spark: "SparkSession", task: Task, onnx_dir: Path, out: Path, options: PredictOptions
) -> None:
    """Make a serving model of ONNX graphs: a Spark NLP pipeline, and what a `Reader` reads.

    Args:
        spark: a session that has imported no other model yet.
        task: of the model.
        onnx_dir: what `onnx_export` or `onnx_encoder` wrote.
        out: the directory; still without provenance.
        options: limits of a prompt and an output.

    Raises:
        SparkNlpError: `onnx_dir` is not an exported model, or this session has imported one before.
    """
    from qa_assets.deployment.engines import spark_nlp, spark_nlp_encoder

    if task.kind == "encoder":
        spark_nlp_encoder.import_onnx(
            spark, onnx_dir, out / PIPELINE,
            max_tokens=options.max_source_tokens, exclusive=task.exclusive_labels,
        )  # fmt: skip
        pieces.copy(onnx_dir, out)
    else:
        longest = options.max_new_tokens
        spark_nlp.import_onnx(spark, onnx_dir, out / PIPELINE, max_new_tokens=longest)
        shutil.copy(onnx_dir / "assets" / SPIECE, out)


def outputs(spark: "SparkSession", directory: Path, sources: Sequence[str]) -> list[Prediction]:
    """What the Spark NLP pipeline in a directory says to the sources of prompts."""
    from qa_assets.deployment.engines import spark_nlp, spark_nlp_encoder

    served = provenance.read(directory)
    pipeline = spark_nlp.load_pipeline(spark, directory / PIPELINE)
    encoder = load_task(**served.task).kind == "encoder"
    texts = [[text] for text in sources]
    if encoder:
        texts = list(map(pieces.load(directory, served.max_source_tokens), sources))
    frame = spark.createDataFrame(list(enumerate(texts)), "row int, source array<string>")
    frame = frame.repartition(spark.sparkContext.defaultParallelism)
    model = spark_nlp_encoder.classify if encoder else spark_nlp.generate
    result = model(pipeline, frame, source="source", output="output").select("row", "output")
    output_of = _of_labels if encoder else _of_texts
    return [output_of(row["output"])[0] for row in result.orderBy("row").collect()]


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
        """The sources of a row's prompts; none where no model is asked."""
        served = self.served
        budget = Budget(
            _counter(self.directory), served.max_source_tokens, served.window_overlap_tokens
        )
        return self._sources(row, budget)

    def pieces(self, row: Sequence[bytes | None]) -> list[str]:
        """The pieces of a row's prompt, for an encoder; none where no model is asked."""
        split = pieces.load(self.directory, self.served.max_source_tokens)
        return [piece for source in self._sources(row, None) for piece in split(source)]

    def _sources(self, row: Sequence[bytes | None], budget: Budget | None) -> list[str]:
        inputs = self._inputs(row)
        if inputs is None:
            return []
        prompts = self.task.prompts(Example(id="", group="", inputs=inputs), budget)
        return [prompt.source for prompt in prompts]

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


def _input_columns(task: Task) -> "list[Column]":
    from pyspark.sql import functions as sf

    # as bytes: Arrow fails on texts that are not UTF-8
    return [sf.col(name).cast("binary") for name in task.messages.inputs]


def _read_column(reader: Reader, read: Callable[[Sequence[bytes | None]], list[str]]) -> "Column":
    """What the model reads of each row, an empty array where no model is asked."""
    import pandas as pd
    from pyspark.sql import functions as sf

    def prompts(*inputs: pd.Series) -> pd.Series:
        return pd.Series([read(row) for row in zip(*inputs, strict=True)], dtype=object)

    column: Column = sf.pandas_udf(prompts, "array<string>")(*_input_columns(reader.task))
    return column


def _resolved_column(task: Task, outputs_of: Callable[[Any], list[Prediction]]) -> "Column":
    """The prediction of each row, from what the model said."""
    import pandas as pd

    def predictions(said: pd.Series) -> pd.Series:
        return _structs(task, map(outputs_of, said))

    return _first_struct(predictions, _PROMPTS)


def _of_texts(texts: Sequence[str]) -> list[Prediction]:
    return [Prediction(text) for text in texts]


def _of_labels(probabilities: Mapping[str, float] | None) -> list[Prediction]:
    if probabilities is None:
        return []
    best = max(probabilities, key=probabilities.__getitem__)
    return [Prediction(best, probabilities[best], probabilities)]


def _ctranslate2_column(reader: Reader, directory: Path) -> "Column":
    """The prediction of each row; Spark's workers keep the model from task to task."""
    import pandas as pd

    def predictions(*inputs: pd.Series) -> pd.Series:
        model = ctranslate2.load(directory)
        rows = [reader.sources(row) for row in zip(*inputs, strict=True)]
        outputs = iter(
            ctranslate2.generate(
                model,
                [source for sources in rows for source in sources],
                max_new_tokens=reader.served.max_new_tokens,
            )
        )
        return _structs(reader.task, (list(islice(outputs, len(sources))) for sources in rows))

    return _first_struct(predictions, *_input_columns(reader.task))


def _structs(task: Task, rows: Iterable[Sequence[Prediction]]) -> "pd.Series":
    """Lists of the prediction resolved from a row's outputs; empty where there are none."""
    import pandas as pd

    return pd.Series(
        [[asdict(task.resolve(outputs))] if outputs else [] for outputs in rows], dtype=object
    )


def _first_struct(predictions: "Callable[..., pd.Series]", *columns: "Column | str") -> "Column":
    """A pandas function that returns `_structs` as a column: in a list a struct can be null."""
    from pyspark.sql import functions as sf

    function = sf.pandas_udf(predictions, f"array<{PREDICTION_TYPE}>")
    # a filter on the result would otherwise be pushed down, and compute the predictions twice
    column: Column = sf.get(function.asNondeterministic()(*columns), sf.lit(0))
    return column

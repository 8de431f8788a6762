"""A serving model's directory as a function that adds predictions to a Spark frame.

The only interface to all engines: callers know the task's inputs and predictions, and nothing of
prompts, windows and abstention. How predictions become responses is in `streaming`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.examples import Budget, Example, Prediction
from qa_assets.core.task import Task, load_task
from qa_assets.deployment import provenance
from qa_assets.deployment.engines import ctranslate2
from qa_assets.deployment.provenance import Provenance
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
    reader = Reader(load_task(**served.task), directory / SPIECE, served)
    if served.engine == "ctranslate2":
        column = _ctranslate2_column(reader, directory)
        return lambda frame: frame.withColumn(PREDICTION, column)

    from qa_assets.deployment.engines import spark_nlp

    pipeline = spark_nlp.load_pipeline(spark, directory / PIPELINE)
    prompts, resolved = _prompts_column(reader), _resolved_column(reader.task)

    def predict(frame: "DataFrame") -> "DataFrame":
        prompted = frame.withColumn(_PROMPTS, prompts)
        outputs = spark_nlp.generate(pipeline, prompted, source=_PROMPTS, output=_PROMPTS)
        return outputs.withColumn(PREDICTION, resolved).drop(_PROMPTS)

    return predict


@dataclass(frozen=True)
class Reader:
    """Makes prompts of rows, in Spark's workers.

    Attributes:
        task: of the model.
        spiece: the model's SentencePiece model, to count tokens with.
        served: the model's provenance, which has the limits of a prompt.
    """

    task: Task
    spiece: Path
    served: Provenance

    def sources(self, values: Sequence[bytes | None]) -> list[str]:
        """The sources of a row's prompts; none where no model is asked.

        Args:
            values: the task's inputs, in their order, in UTF-8; other bytes become U+FFFD.
        """
        inputs = self._inputs(values)
        if inputs is None:
            return []
        budget = Budget(
            _counter(self.spiece), self.served.max_source_tokens, self.served.window_overlap_tokens
        )
        prompts = self.task.prompts(Example(id="", group="", inputs=inputs), budget)
        return [prompt.source for prompt in prompts]

    def _inputs(self, values: Sequence[bytes | None]) -> Mapping[str, str] | None:
        present = [value for value in values if value is not None]
        # 4 bytes a character at most: what is certainly too long is not decoded
        if len(present) < len(values) or sum(map(len, present)) > 4 * MAX_CHARACTERS:
            return None
        texts = [value.decode("utf-8", "replace") for value in present]
        if not all(text.strip() for text in texts) or sum(map(len, texts)) > MAX_CHARACTERS:
            return None
        return dict(zip(self.task.messages.inputs, texts, strict=True))


@cache
def _counter(spiece: Path) -> PieceCounter:
    return PieceCounter(spiece)


def _input_columns(task: Task) -> "list[Column]":
    from pyspark.sql import functions as sf

    # as bytes: Arrow fails on texts that are not UTF-8
    return [sf.col(name).cast("binary") for name in task.messages.inputs]


def _prompts_column(reader: Reader) -> "Column":
    """The sources of each row's prompts, an empty array where no model is asked."""
    import pandas as pd
    from pyspark.sql import functions as sf

    def prompts(*inputs: pd.Series) -> pd.Series:
        rows = zip(*inputs, strict=True)
        return pd.Series([reader.sources(row) for row in rows], dtype=object)

    column: Column = sf.pandas_udf(prompts, "array<string>")(*_input_columns(reader.task))
    return column


def _resolved_column(task: Task) -> "Column":
    """The prediction of each row, from the texts of its prompts' outputs."""
    import pandas as pd

    def predictions(texts: pd.Series) -> pd.Series:
        return _structs(task, ([Prediction(text) for text in row] for row in texts))

    return _first_struct(predictions, _PROMPTS)


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

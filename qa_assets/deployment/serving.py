"""One interface to both engines: a model's directory becomes what answers a frame of questions.

Prompts, windows of long contexts and the text that abstains end here: who serves knows questions,
contexts, answers and confidences. Rows that no model is asked about (see `sources_of`) come back
without an answer and without a confidence, and change nothing for the others.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.deployment import provenance
from qa_assets.deployment.engines import ctranslate2
from qa_assets.models.decoding import to_answers
from qa_assets.tasks.question_answering.windows import PieceCounter, Windows, best

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyspark.sql import Column, DataFrame, SparkSession

Answerer = Callable[["DataFrame"], "DataFrame"]
"""Adds `answer` (text; null: none) and `confidence` (0 to 1; null: not known) to a frame.

The frame has the text columns `question` and `context`; its rows and other columns stay as they
are. Lazy: each action on the result asks the model again, unless it is persisted.
"""
PIPELINE = "pipeline"
"""Of Spark NLP, within the directory of a model that serves; CTranslate2's files are in it."""
SENTENCE_PIECE = "spiece.model"
MOST_CHARACTERS = 100_000
"""Of question and context together: a window takes some 20 ms."""
_SOURCES = "qa_assets_sources"
_QUESTION, _CONTEXT = "qa_assets_question", "qa_assets_context"


def answerer(spark: "SparkSession", directory: Path) -> Answerer:
    """What answers with the model in a directory, by the engine that its provenance names.

    The workers of a cluster read the same path, and have qa_assets installed.

    Raises:
        ProvenanceError: there is no model that serves, or its files were changed.
        SparkNlpError: Spark NLP cannot load it.
    """
    made = provenance.read(directory)
    if made.engine == "ctranslate2":
        return lambda frame: _by_ctranslate2(frame, directory, made)

    from qa_assets.deployment.engines import spark_nlp

    pipeline = spark_nlp.load_pipeline(spark, directory / PIPELINE)

    def answer(frame: "DataFrame") -> "DataFrame":
        from pyspark.sql import functions as sf

        asked = frame.withColumn(_SOURCES, _sources_column(_reading(directory, made)))
        said = spark_nlp.answer(pipeline, asked, source=_SOURCES, answer=_SOURCES)
        # the first window that answers: Spark NLP does not tell how sure it is
        answers = sf.filter(_SOURCES, lambda text: ~sf.lower(text).isin("", made.no_answer.lower()))
        return (
            said.withColumn("answer", sf.get(answers, sf.lit(0)))
            .withColumn("confidence", sf.lit(None).cast("double"))
            .drop(_SOURCES)
        )

    return answer


def sources_of(question: bytes | None, context: bytes | None, windows: Windows) -> list[str]:
    """What a model is asked about a row, none if either text is null, blank or both too long.

    Args:
        question: in UTF-8; what is not becomes U+FFFD.
        context: the same.
        windows: how long contexts are read.
    """
    if question is None or context is None:
        return []
    if len(question) + len(context) > 4 * MOST_CHARACTERS:
        return []  # not even decoded
    asked, text = (given.decode("utf-8", "replace") for given in (question, context))
    if not asked.strip() or not text.strip() or len(asked) + len(text) > MOST_CHARACTERS:
        return []
    return windows.sources(asked, text)


def _reading(directory: Path, made: provenance.Provenance) -> tuple[Path, int, int]:
    return directory / SENTENCE_PIECE, made.max_source_tokens, made.window_overlap_tokens


@cache
def _windows(spiece: Path, max_tokens: int, overlap: int) -> Windows:
    return Windows(PieceCounter(spiece), max_tokens, overlap)


def _sources_column(reading: tuple[Path, int, int]) -> "Column":
    """The texts that a model is asked, as a column: an array that is empty where it is not.

    Args:
        reading: arguments of `_windows`, which Spark's workers call.
    """
    import pandas as pd
    from pyspark.sql import functions as sf

    def sources(questions: pd.Series, contexts: pd.Series) -> pd.Series:
        windows = _windows(*reading)
        pairs = zip(questions, contexts, strict=True)
        return pd.Series([sources_of(*pair, windows) for pair in pairs], dtype=object)

    # as bytes: Arrow fails on texts that are not UTF-8
    column: Column = sf.pandas_udf(sources, "array<string>")(
        sf.col("question").cast("binary"), sf.col("context").cast("binary")
    )
    return column


def _by_ctranslate2(
    frame: "DataFrame", directory: Path, made: provenance.Provenance
) -> "DataFrame":
    from pyspark.sql import functions as sf
    from pyspark.sql.types import DoubleType, StringType, StructType

    kept = frame.drop("answer", "confidence")
    schema = StructType(kept.schema.fields)
    schema = schema.add("answer", StringType()).add("confidence", DoubleType())
    asked = kept.select(
        "*",
        sf.col("question").cast("binary").alias(_QUESTION),
        sf.col("context").cast("binary").alias(_CONTEXT),
    )
    return asked.mapInArrow(lambda batches: _answered(batches, directory, made), schema)


def _answered(
    batches: "Iterable[RecordBatch]", directory: Path, made: provenance.Provenance
) -> "Iterator[RecordBatch]":
    """Runs in Spark's workers, which keep the model from task to task."""
    import pyarrow as pa

    model = ctranslate2.load(directory)
    windows = _windows(*_reading(directory, made))
    for batch in batches:
        *kept, questions, contexts = batch.columns
        pairs = zip(questions.to_pylist(), contexts.to_pylist(), strict=True)
        of_rows = [sources_of(question, context, windows) for question, context in pairs]
        texts, confidences = ctranslate2.answer(
            model,
            [source for sources in of_rows for source in sources],
            max_new_tokens=made.max_new_tokens,
        )
        said = to_answers(texts, made.no_answer)
        answers: list[str | None] = []
        sure: list[float | None] = []
        start = 0
        for sources in of_rows:
            end = start + len(sources)
            number = start + best(said[start:end], confidences[start:end]) if sources else None
            answers.append(None if number is None else said[number] or None)
            sure.append(None if number is None else confidences[number])
            start = end
        columns = [*kept, pa.array(answers, pa.string()), pa.array(sure, pa.float64())]
        names = [*batch.schema.names[: len(kept)], "answer", "confidence"]
        yield pa.RecordBatch.from_arrays(columns, names)

"""Spark NLP for encoders: imports an ONNX graph into a saved pipeline, and classifies with it.

BertForSequenceClassification runs the graph of any encoder that `onnx_encoder` exported, on the
pieces of its own tokenizer. `spark_nlp.load_model` loads it.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.ml import Pipeline
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from sparknlp.annotator import BertForSequenceClassification, Tokenizer
from sparknlp.base import DocumentAssembler

from qa_assets.core.files import atomic_directory
from qa_assets.deployment.engines.onnx_encoder import LABELS, MODEL
from qa_assets.deployment.engines.pieces import UNKNOWN, VOCABULARY
from qa_assets.deployment.engines.spark_nlp import Annotator, annotation, require_importable

logger = logging.getLogger(__name__)

_TEXT = "qa_assets_text"
_DOCUMENT, _TOKENS, _OUTPUT = "qa_assets_document", "qa_assets_tokens", "qa_assets_output"
_BATCH = 8


def import_onnx(
    spark: SparkSession, onnx_dir: Path, out: Path, *, max_tokens: int, exclusive: bool
) -> None:
    """Save the Spark NLP pipeline of what `onnx_encoder` wrote in the new directory `out`.

    On plain text, without `classify`, the pipeline splits words by Spark NLP's own rules, which fit
    a BERT, and fit it nearly. Where labels are not `exclusive`, a text has any number of them.

    Raises:
        SparkNlpError: `onnx_dir` is not an exported model, or this session has imported one before.
        FileExistsError: `out` exists.
    """
    require_importable(spark, onnx_dir, MODEL, VOCABULARY, LABELS)
    started = time.monotonic()
    with atomic_directory(out) as draft:
        model = (
            BertForSequenceClassification.loadSavedModel(str(onnx_dir.absolute()), spark)
            .setInputCols([_DOCUMENT, _TOKENS])
            .setOutputCol(_OUTPUT)
            .setCaseSensitive(True)
            .setMaxSentenceLength(max_tokens)
            .setActivation("softmax" if exclusive else "sigmoid")
            .setThreshold(0.0)  # a text gets its probabilities, however small
            .setBatchSize(_BATCH)
        )
        document = DocumentAssembler().setInputCol(_TEXT).setOutputCol(_DOCUMENT)
        words = Tokenizer().setInputCols([_DOCUMENT]).setOutputCol(_TOKENS)
        texts = spark.createDataFrame([("",)], f"{_TEXT} string")
        pipeline = Pipeline(stages=[document, words, model]).fit(texts)
        pipeline.write().overwrite().save(draft.absolute().as_uri())
    logger.info("imported %s into Spark NLP in %.1f s", onnx_dir, time.monotonic() - started)


def classify(model: Any, frame: DataFrame, *, source: str, output: str) -> DataFrame:
    """Add the probabilities of the labels to a frame with a column of a text's pieces, an array.

    Lazy: each action on the result runs the model again, unless it is persisted. A probability by
    label is a map; null where there are no pieces.
    """
    known = sf.coalesce(source, sf.array())
    # an empty array would shift the outputs of the rows after it
    texts = sf.when(sf.size(known) > 0, known).otherwise(sf.array(sf.lit(UNKNOWN)))
    document = sf.array(annotation("document", sf.array_join(texts, " ")))
    tokens = sf.transform(texts, lambda piece: annotation("token", piece))
    scores = sf.map_filter(
        sf.get(_OUTPUT, sf.lit(0))["metadata"], lambda name, _: name != sf.lit("sentence")
    )
    probabilities = sf.transform_values(scores, lambda _, value: value.cast("double"))
    return (
        model.transform(
            frame.select(
                "*",
                document.alias(_DOCUMENT, metadata={"annotatorType": "document"}),
                tokens.alias(_TOKENS, metadata={"annotatorType": "token"}),
            )
        )
        .withColumn(output, sf.when(sf.size(known) > 0, probabilities))
        .drop(_DOCUMENT, _TOKENS, _OUTPUT)
    )


def classify_in_driver(
    annotator: Annotator, texts: Sequence[Sequence[str]]
) -> list[dict[str, float] | None]:
    """The probabilities for texts, each its pieces, those of `classify`, without a Spark job.

    Raises:
        SparkNlpError: Spark NLP fails on a text.
    """
    rows = [
        [("document", " ".join(pieces)), *(("token", piece) for piece in pieces)]
        for pieces in texts
        if pieces
    ]
    results = iter(annotator(rows))
    return [_probabilities(next(results)) if pieces else None for pieces in texts]


def _probabilities(annotation: Any) -> dict[str, float]:
    # in one call of py4j; a probability is behind the last arrow
    entries = annotation.metadata().mkString("\0").split("\0")
    scores = dict(entry.rsplit(" -> ", 1) for entry in entries)
    return {name: float(value) for name, value in scores.items() if name != "sentence"}

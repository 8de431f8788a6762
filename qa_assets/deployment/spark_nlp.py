"""The Spark NLP pipeline of an exported model: imported once, saved, reloaded, asked.

T5Transformer as it is here prepends nothing to a source, cuts nothing off it and decodes greedily,
so that its answers equal transformers' and ONNX Runtime's. Needs a session of `qa_assets.spark`.
"""

import json
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.deployment.atomic import atomic_directory
from qa_assets.deployment.onnx import (
    CONFIG,
    DECODER,
    ENCODER,
    SENTENCE_PIECE,
    SPARK_NLP_VOCABULARY,
)

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

_TEXT = "qa_assets_text"
_DOCUMENT = "qa_assets_document"
_ANSWER = "qa_assets_answer"
_UNKNOWN = " \u2047 "  # how SentencePiece spells <unk>, which transformers leaves out


class SparkNlpError(RuntimeError):
    """A model that cannot be imported or loaded; the message says why and what to do."""


def import_onnx(
    spark: "SparkSession",
    onnx_dir: Path,
    out: Path,
    *,
    max_new_tokens: int,
    batch_size: int = 1,
) -> None:
    """Make the Spark NLP pipeline of an exported model and save it.

    Args:
        spark: a session that has imported no other model yet.
        onnx_dir: what `qa_assets.deployment.onnx.export` wrote.
        out: a directory that does not exist, or is empty; written beside and renamed.
        max_new_tokens: longest answer, in tokens.
        batch_size: sources decoded at once. On CPUs 1 is as fast as more, and leaks least; it is
            also all that Spark NLP can do with a vocabulary other than Flan-T5's.

    Raises:
        SparkNlpError: `onnx_dir` is not an exported model, cannot be decoded in such batches, or
            this session has imported a model before.
        FileExistsError: `out` exists.
    """
    from pyspark.ml import PipelineModel
    from sparknlp.annotator import T5Transformer
    from sparknlp.base import DocumentAssembler

    for name in (ENCODER, DECODER, SENTENCE_PIECE, CONFIG):
        if not (onnx_dir / name).is_file():
            raise SparkNlpError(f"{onnx_dir} has no {name}: export the model to ONNX first")
    vocabulary = json.loads((onnx_dir / CONFIG).read_text())["vocab_size"]
    if batch_size > 1 and vocabulary != SPARK_NLP_VOCABULARY:
        # it takes row i of the logits to start at i * 32,128
        raise SparkNlpError(
            f"{onnx_dir} has a vocabulary of {vocabulary}: only one of {SPARK_NLP_VOCABULARY} can"
            f" be decoded in batches of {batch_size}: use batch_size=1"
        )
    if any(Path(file).name == ENCODER for file in spark.sparkContext.listFiles):
        raise SparkNlpError(
            f"cannot import {onnx_dir}: this session has imported a model before, and Spark NLP"
            " would mix up their files: import it in a new session, or load saved pipelines"
        )
    started = time.monotonic()
    with atomic_directory(out) as draft:
        with tempfile.TemporaryDirectory() as view:
            model = T5Transformer.loadSavedModel(str(_view(onnx_dir, Path(view))), spark)
        model = (
            model.setInputCols([_DOCUMENT])
            .setOutputCol(_ANSWER)
            .setTask("")
            .setMaxNewTokens(max_new_tokens)
            .setMaxOutputLength(max_new_tokens)
            .setBatchSize(batch_size)
        )
        document = DocumentAssembler().setInputCol(_TEXT).setOutputCol(_DOCUMENT)
        PipelineModel([document, model]).write().overwrite().save(draft.absolute().as_uri())
    logger.info("imported %s into Spark NLP in %.1f s", onnx_dir, time.monotonic() - started)


def load_pipeline(spark: "SparkSession", directory: Path) -> "PipelineModel":
    """Load a pipeline that `import_onnx` saved. A session may load any number of them.

    Raises:
        SparkNlpError: there is none in `directory`.
    """
    import sparknlp.annotator  # noqa: F401 - has the classes that the reader looks up by name
    from pyspark.ml import PipelineModel

    if not (directory / "metadata").is_dir():
        raise SparkNlpError(f"{directory} holds no saved pipeline: import the model first")
    started = time.monotonic()
    pipeline = PipelineModel.read().session(spark).load(directory.absolute().as_uri())
    logger.info("loaded %s in %.1f s", directory, time.monotonic() - started)
    return pipeline


def answer(
    pipeline: "PipelineModel",
    frame: "DataFrame",
    *,
    source: str = "source",
    answer: str = "answer",
) -> "DataFrame":
    """Add the answers to the sources of a frame.

    Lazy, so that each action on the result runs the model again, unless it is persisted. A source
    that the engine fails on fails the action: its log says why.

    Args:
        pipeline: from `load_pipeline`.
        frame: any frame with a string column `source`.
        source: name of that column.
        answer: name of the column to add, or to replace.

    Returns:
        The frame, its rows and columns as they were, with the answers as a string column, empty
        where the source is blank or null.
    """
    from pyspark.sql import functions as sf

    # Spark NLP would invent an answer to a blank text; it skips an empty one
    text = sf.when(sf.col(source).rlike(r"(?U)\S"), sf.col(source)).otherwise("")
    said = sf.col(_ANSWER)[0]["result"]
    return (
        pipeline.transform(frame.withColumn(_TEXT, text))
        .withColumn(
            answer,
            sf.when(sf.col(_TEXT) == "", "")
            .when(said.isNull(), sf.raise_error(f"Spark NLP failed on a text of column {source}"))
            .otherwise(sf.trim(sf.replace(said, sf.lit(_UNKNOWN)))),
        )
        .drop(_TEXT, _DOCUMENT, _ANSWER)
    )


def _view(onnx_dir: Path, view: Path) -> Path:
    """Show the model as loadSavedModel wants it: a decoder_model.onnx must exist, unread."""
    for name in (ENCODER, DECODER, SENTENCE_PIECE):
        (view / name).parent.mkdir(exist_ok=True)
        (view / name).symlink_to((onnx_dir / name).absolute())
    (view / "decoder_model.onnx").symlink_to(DECODER)
    return view

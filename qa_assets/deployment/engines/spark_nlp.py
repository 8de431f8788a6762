"""Spark NLP: imports ONNX graphs into a saved pipeline, loads it, and decodes with it.

T5Transformer, configured as here, adds no prefix, truncates nothing and decodes greedily, so that
its outputs equal those of transformers and ONNX Runtime. Needs a session of `qa_assets.spark`.
"""

import logging
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.types import StringType
from sparknlp.annotator import T5Transformer
from sparknlp.base import DocumentAssembler

from qa_assets.core.files import atomic_directory
from qa_assets.deployment.engines.onnx_export import DECODER, ENCODER, SENTENCE_PIECE
from qa_assets.models.logit_bias import CONFIG
from qa_assets.spark import driver_cores

logger = logging.getLogger(__name__)

_TEXT = "qa_assets_text"
_DOCUMENT = "qa_assets_document"
_OUTPUT = "qa_assets_output"
_UNKNOWN = " \u2047 "  # how SentencePiece spells <unk>, which transformers leaves out


class SparkNlpError(RuntimeError):
    """A model that cannot be imported or loaded; the message says why and what to do."""


def import_onnx(spark: SparkSession, onnx_dir: Path, out: Path, *, max_new_tokens: int) -> None:
    """Save the Spark NLP pipeline of what `onnx_export.save` wrote in the new directory `out`.

    Raises:
        SparkNlpError: `onnx_dir` is not an exported model, or this session has imported one before.
        FileExistsError: `out` exists.
    """
    require_importable(spark, onnx_dir, ENCODER, DECODER, SENTENCE_PIECE, CONFIG)
    started = time.monotonic()
    with atomic_directory(out) as draft:
        with tempfile.TemporaryDirectory() as view:
            model = T5Transformer.loadSavedModel(str(_view(onnx_dir, Path(view))), spark)
        model = (
            model.setInputCols([_DOCUMENT])
            .setOutputCol(_OUTPUT)
            .setTask("")
            .setMaxNewTokens(max_new_tokens)
            .setMaxOutputLength(max_new_tokens)
            .setBatchSize(1)  # the only size that the shortened logits allow; as fast on CPUs
        )
        document = DocumentAssembler().setInputCol(_TEXT).setOutputCol(_DOCUMENT)
        PipelineModel([document, model]).write().overwrite().save(draft.absolute().as_uri())
    logger.info("imported %s into Spark NLP in %.1f s", onnx_dir, time.monotonic() - started)


def require_importable(spark: SparkSession, onnx_dir: Path, graph: str, *others: str) -> None:
    """Raise `SparkNlpError` where a file is missing, or the session has imported another graph."""
    for name in (graph, *others):
        if not (onnx_dir / name).is_file():
            raise SparkNlpError(f"{onnx_dir} has no {name}: export the model to ONNX first")
    if any(Path(file).name == graph for file in spark.sparkContext.listFiles):
        raise SparkNlpError(
            f"cannot import {onnx_dir}: this session has imported a model before, and Spark NLP"
            " would mix up their files: import it in a new session, or load saved pipelines"
        )


def load_model(directory: Path, annotator: Any = T5Transformer) -> Any:
    """Load the model of a pipeline that `import_onnx` saved. A session may load any number of them.

    Spark needs two jobs for each other stage that it loads, and they only prepare plain text.

    Args:
        directory: of the pipeline.
        annotator: Spark NLP's class of the model, the pipeline's last stage.

    Raises:
        SparkNlpError: there is no pipeline in `directory`.
    """
    stages = {int(path.name.split("_")[0]): path for path in (directory / "stages").glob("[0-9]*")}
    if not stages:
        raise SparkNlpError(f"{directory} holds no saved pipeline: import the model first")
    started = time.monotonic()
    model = annotator.load(stages[max(stages)].absolute().as_uri())
    logger.info("loaded %s in %.1f s", directory, time.monotonic() - started)
    return model


def generate(
    model: Any, frame: DataFrame, *, source: str = "source", output: str = "output"
) -> DataFrame:
    """Add the outputs for a column of sources, a text or an array of texts, to a frame.

    Lazy: each action on the result runs the model again, unless it is persisted. If Spark NLP fails
    on a source, the action fails; Spark NLP's log says why.

    Returns:
        The frame, its rows and other columns unchanged, with the outputs as a column like the
        sources: a text, "" where the source is blank or null; or an array with a text for each
        source that is neither.
    """
    single = isinstance(frame.schema[source].dataType, StringType)
    sources = sf.array(source) if single else sf.coalesce(source, sf.array())
    # for a blank text Spark NLP would make up an output
    texts = sf.filter(sources, lambda text: text.rlike(r"(?U)\S"))
    # an empty array would shift the outputs of the rows after it; an empty text is skipped
    texts = sf.when(sf.size(texts) > 0, texts).otherwise(sf.array(sf.lit("")))
    # several annotations, each as DocumentAssembler makes it of one text
    document = sf.transform(
        texts,
        lambda text, number: annotation("document", text, number, sf.length(text) - 1),
    ).alias(_DOCUMENT, metadata={"annotatorType": "document"})
    results = sf.transform(
        _OUTPUT,
        lambda annotation: sf.trim(sf.replace(annotation["result"], sf.lit(_UNKNOWN))),
    )
    expected = sf.size(sf.filter(_DOCUMENT, lambda annotation: annotation["result"] != ""))
    failed = sf.raise_error(f"Spark NLP failed on a text of column {source}")
    outputs = sf.when(sf.size(results) == expected, results).otherwise(failed)
    if single:
        outputs = sf.coalesce(sf.get(outputs, sf.lit(0)), sf.lit(""))
    return (
        model.transform(frame.select("*", document))
        .withColumn(output, outputs)
        .drop(_DOCUMENT, _OUTPUT)
    )


def generate_in_driver(annotator: "Annotator", rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The outputs for the sources of rows, those of `generate`, without a Spark job.

    Raises:
        SparkNlpError: Spark NLP fails on a source.
    """
    documents = [[("document", text)] for row in rows for text in row if text.strip()]
    texts = (result.result().replace(_UNKNOWN, "").strip(" ") for result in annotator(documents))
    return [[next(texts) for source in row if source.strip()] for row in rows]


class Annotator:
    """A loaded model, called in the driver's JVM, without a Spark job."""

    def __init__(self, model: Any) -> None:
        """Look up once what each call needs of the JVM."""
        session = SparkSession.active()
        context = session.sparkContext
        self._gateway, jvm = context._gateway, context._jvm  # noqa: SLF001  py4j's own
        self._model = model  # pyspark releases the JVM's model with this wrapper
        self._java_model = model._java_obj  # noqa: SLF001
        self._annotation = jvm.com.johnsnowlabs.nlp.Annotation
        self._sequence = jvm.PythonUtils.toSeq
        self._metadata = jvm.PythonUtils.toScalaMap({"sentence": "0"})
        self._embeddings = self._gateway.new_array(jvm.float, 0)
        self._threads = ThreadPoolExecutor(driver_cores(session))

    def __call__(self, rows: Sequence[Sequence[tuple[str, str]]]) -> list[Any]:
        """The first annotation, an object of the JVM, that the model adds to each row.

        A row is the annotator types and the texts of its annotations.

        Raises:
            SparkNlpError: the model adds none.
        """
        return list(self._threads.map(self._annotate, rows))

    def _annotate(self, row: Sequence[tuple[str, str]]) -> Any:
        annotations = self._gateway.new_array(self._annotation, len(row))
        for number, (kind, text) in enumerate(row):
            end = len(text) - 1 if kind == "document" else 0
            annotations[number] = self._annotation(
                kind, 0, end, text, self._metadata, self._embeddings
            )
        results = self._java_model.batchAnnotate(self._sequence([annotations])).head()
        if results.isEmpty():
            raise SparkNlpError(f"Spark NLP failed on a text, see its log: {row[0][1][:100]!r}")
        return results.head()


def annotation(
    kind: str, text: Column, sentence: Column | int = 0, end: Column | int = 0
) -> Column:
    """A Spark NLP annotation; by default all of a row are of one sentence, and end at 0."""
    return sf.struct(
        sf.lit(kind).alias("annotatorType"),
        sf.lit(0).alias("begin"),
        sf.lit(end).alias("end"),
        text.alias("result"),
        sf.create_map(sf.lit("sentence"), sf.lit(sentence).cast("string")).alias("metadata"),
        sf.array().cast("array<float>").alias("embeddings"),
    )


def _view(onnx_dir: Path, view: Path) -> Path:
    """Link the model's files as loadSavedModel expects them: with a decoder_model.onnx, unread."""
    for name in (ENCODER, DECODER, SENTENCE_PIECE):
        (view / name).parent.mkdir(exist_ok=True)
        (view / name).symlink_to((onnx_dir / name).absolute())
    (view / "decoder_model.onnx").symlink_to(DECODER)
    return view

"""Directories of tiny serving models, as the deployment assets write them."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.files import atomic_directory
from qa_assets.deployment import provenance, serving
from qa_assets.deployment.config import EngineName
from qa_assets.deployment.engines import spark_nlp
from qa_assets.deployment.engines.onnx_export import SENTENCE_PIECE
from qa_assets.models import ctranslate2
from qa_assets.tasks.question_answering import TASK

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MAX_NEW_TOKENS = 8


def import_model(session: "SparkSession", onnx: Path, out: Path) -> None:
    """Import ONNX graphs into Spark NLP; `out` appears whole or not at all."""
    with atomic_directory(out) as draft:
        spark_nlp.import_onnx(
            session, onnx, draft / serving.PIPELINE, max_new_tokens=_MAX_NEW_TOKENS
        )
        shutil.copy(onnx / SENTENCE_PIECE, draft)
        _sign(draft, "spark_nlp")


def convert_model(model_dir: Path, out: Path) -> None:
    """Convert a Hugging Face directory to CTranslate2."""
    ctranslate2.convert(model_dir, out, token_bias={}, quantization="float32")
    _sign(out, "ctranslate2")


def _sign(directory: Path, engine: EngineName) -> None:
    provenance.write(
        directory,
        provenance.Provenance(
            engine=engine,
            task=TASK().spec(),
            max_new_tokens=_MAX_NEW_TOKENS,
            max_source_tokens=512,
            window_overlap_tokens=128,
            recipe="fp32",
            made_of={},
        ),
    )

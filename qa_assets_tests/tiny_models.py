"""Directories of tiny models that serve, as `serving_models` and `spark_nlp_model` make them."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.deployment import provenance, serving
from qa_assets.deployment.atomic import atomic_directory
from qa_assets.deployment.engines import ctranslate2, spark_nlp

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NO_ANSWER = "unavailable"
_LONGEST = 8


def import_model(session: "SparkSession", onnx: Path, out: Path) -> None:
    """Import ONNX graphs into Spark NLP; `out` appears whole or not at all."""
    with atomic_directory(out) as draft:
        spark_nlp.import_onnx(session, onnx, draft / serving.PIPELINE, max_new_tokens=_LONGEST)
        shutil.copy(onnx / "assets" / serving.SENTENCE_PIECE, draft)
        _sign(draft, "spark_nlp")


def convert_model(model_dir: Path, out: Path) -> None:
    """Convert a Hugging Face directory to CTranslate2."""
    ctranslate2.convert(model_dir, out, token_bias={}, quantization="float32")
    _sign(out, "ctranslate2")


def _sign(place: Path, engine: provenance.Engine) -> None:
    made = provenance.Provenance(
        engine=engine,
        no_answer=NO_ANSWER,
        max_new_tokens=_LONGEST,
        max_source_tokens=512,
        window_overlap_tokens=128,
        recipe="fp32",
        made_of={},
    )
    provenance.write(place, made)

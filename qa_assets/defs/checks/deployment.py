"""Checks of what serves: it must answer as the transformers model does.

`onnx_model` keeps what transformers answered in full precision to valid questions and hard ones. In
full precision an engine must say the same; in eight bits it may not lose F1.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.tables import markdown_table
from qa_assets.models.decoding import to_answers
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering import metric
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    from qa_assets.deployment.parity import Parity


def _result(check: str, asset: str, parity: "Parity", exact: bool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check,
        asset_key=asset,
        passed=parity.same if exact else parity.as_good,
        metadata={
            "must be": "the same" if exact else "as good",
            "questions": parity.questions,
            "equal": parity.equal,
            "f1_loss": parity.loss,
            "f1_loss_interval": str([round(end, 2) for end in parity.loss_interval]),
            "differing": markdown_table(parity.differing) if parity.differing else "none",
        },
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(f"{name}_as_transformers", asset=f"{engine}_model", blocking=True)
        for engine in ("onnx", "ctranslate2")
        for name in ("fp32", "serving")
    ],
    pool="training",
)
def parity_checks(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> Iterator[dg.AssetCheckResult]:
    """Both formats, in full precision and as they serve, abstentions included."""
    from qa_assets.deployment import parity
    from qa_assets.deployment.engines import ctranslate2, onnx_runtime
    from qa_assets.deployment.quantization.recipes import FP32

    def by_onnx(directory: Path, sources: Sequence[str], longest: int) -> list[str]:
        return onnx_runtime.answer(directory, sources, max_new_tokens=longest)

    def by_ctranslate2(directory: Path, sources: Sequence[str], longest: int) -> list[str]:
        model = ctranslate2.load(directory)
        return ctranslate2.answer(model, sources, max_new_tokens=longest)[0]

    for asset, answer in (("onnx_model", by_onnx), ("ctranslate2_model", by_ctranslate2)):
        model = store.latest(asset)
        rows = parity.expected(model.path)
        sources = [row["source"] for row in rows]
        serves = model.info["serves"]
        found = {}
        for directory in dict.fromkeys((FP32, serves)):
            texts = answer(model.path / directory, sources, _longest(model))
            said = to_answers(texts, settings.data.no_answer)
            found[directory] = parity.compare(rows, said, metric.f1_each)
        yield _result("fp32_as_transformers", asset, found[FP32], exact=True)
        yield _result("serving_as_transformers", asset, found[serves], exact=serves == FP32)


@dg.asset_check(asset="spark_nlp_model", blocking=True, pool="spark")
def spark_nlp_as_transformers(
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
    spark: SparkResource,
) -> dg.AssetCheckResult:
    """The saved pipeline, loaded again, answers as transformers does."""
    from qa_assets.deployment import parity, serving
    from qa_assets.deployment.engines import spark_nlp
    from qa_assets.deployment.quantization.recipes import FP32

    model = store.latest("spark_nlp_model")
    session = spark.spark_session
    pipeline = spark_nlp.load_pipeline(
        session, model.path / model.info["serves"] / serving.PIPELINE
    )
    rows = parity.expected(model.path)
    frame = session.createDataFrame(
        [(number, row["source"]) for number, row in enumerate(rows)], "row int, source string"
    ).repartition(session.sparkContext.defaultParallelism)
    got = spark_nlp.answer(pipeline, frame).select("row", "answer").toPandas().sort_values("row")
    texts = to_answers(list(got["answer"]), settings.data.no_answer)
    return _result(
        "spark_nlp_as_transformers",
        "spark_nlp_model",
        parity.compare(rows, texts, metric.f1_each),
        exact=model.info["recipe"] == FP32,
    )


def _longest(model: Artifact) -> int:
    return TrainingConfig(**model.info["config"]).max_target_tokens

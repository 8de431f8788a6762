"""Checks of what serves: it must answer as the transformers model does.

`champion` keeps what transformers answered to a sample of valid questions, in full precision.
"""

from collections.abc import Sequence

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.tables import markdown_table
from qa_assets.settings import Settings
from qa_assets.training.config import TrainingConfig
from qa_assets.training.generation import to_answers

_LEAST_EQUAL = 0.98


def _equal(
    sources: Sequence[str], expected: Sequence[str], got: Sequence[str]
) -> dg.AssetCheckResult:
    differing = [
        {"source": source, "transformers": left, "here": right}
        for source, left, right in zip(sources, expected, got, strict=True)
        if left != right
    ]
    return dg.AssetCheckResult(
        passed=len(differing) <= (1 - _LEAST_EQUAL) * len(sources),
        metadata={
            "questions": len(sources),
            "equal": len(sources) - len(differing),
            "differing": markdown_table(differing) if differing else "none",
        },
    )


@dg.asset_check(asset="onnx_model", additional_deps=["champion"], blocking=True)
def onnx_equals_transformers(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.AssetCheckResult:
    """ONNX Runtime answers a sample as transformers does, abstentions included."""
    import pandas as pd

    from qa_assets.deployment import onnx

    exported = store.latest("onnx_model")
    config = TrainingConfig(**exported.info["config"])
    expected = pd.read_parquet(exported.path / "expected.parquet")
    got = onnx.answer(
        exported.path / "onnx",
        list(expected["source"]),
        max_new_tokens=config.max_target_tokens,
        batch_size=1,
    )
    texts = to_answers(got, settings.data.no_answer)
    return _equal(list(expected["source"]), list(expected["answer"]), texts)


@dg.asset_check(asset="spark_nlp_model", blocking=True, pool="spark")
def spark_nlp_equals_transformers(
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
    spark: SparkResource,
) -> dg.AssetCheckResult:
    """The saved pipeline, loaded again, answers a sample as transformers does."""
    import pandas as pd

    from qa_assets.deployment import spark_nlp

    model = store.latest("spark_nlp_model")
    session = spark.spark_session
    pipeline = spark_nlp.load_pipeline(session, model.path / "pipeline")
    expected = pd.read_parquet(model.path / "expected.parquet").reset_index(names="row")
    frame = session.createDataFrame(expected[["row", "source"]]).repartition(
        session.sparkContext.defaultParallelism
    )
    got = spark_nlp.answer(pipeline, frame).select("row", "answer").toPandas().sort_values("row")
    texts = to_answers(list(got["answer"]), settings.data.no_answer)
    return _equal(list(expected["source"]), list(expected["answer"]), texts)

"""Checks of what serves: it must answer as the transformers model does.

`onnx_model` keeps what transformers answered in full precision to valid examples and hard cases. In
full precision an engine must say the same; in eight bits it may not lose score.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.components.spark_resource import SparkResource
from qa_assets.components.tables import markdown_table
from qa_assets.components.training import task_of
from qa_assets.core.artifacts import Artifact
from qa_assets.core.examples import Prediction
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    from qa_assets.deployment.parity import Parity


def build(pipeline: Pipeline) -> dg.Definitions:
    """The checks of this stage."""
    return dg.Definitions(asset_checks=[_parity_checks(pipeline), _spark_nlp_check(pipeline)])


def _result(check: str, key: dg.AssetKey, parity: "Parity", exact: bool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check,
        asset_key=key,
        passed=parity.same if exact else parity.as_good,
        metadata={
            "must be": "the same" if exact else "as good",
            "prompts": parity.prompts,
            "equal": parity.equal,
            "score_loss": parity.loss,
            "score_loss_interval": str([round(end, 2) for end in parity.loss_interval]),
            "differing": markdown_table(parity.differing) if parity.differing else "none",
        },
    )


def _parity_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=pipeline.op("parity_checks"),
        specs=[
            dg.AssetCheckSpec(
                f"{name}_as_transformers", asset=pipeline.key(f"{engine}_model"), blocking=True
            )
            for engine in ("onnx", "ctranslate2")
            for name in ("fp32", "serving")
        ],
        ins=pipeline.keys("onnx_model", "ctranslate2_model"),
        pool="training",
    )
    def parity_checks(
        onnx_model: Artifact, ctranslate2_model: Artifact
    ) -> Iterator[dg.AssetCheckResult]:
        """Both formats, in full precision and as they serve, abstentions included."""
        from qa_assets.deployment import parity
        from qa_assets.deployment.engines import ctranslate2, onnx_runtime
        from qa_assets.deployment.quantization.recipes import FP32

        def by_onnx(directory: Path, sources: list[str], longest: int) -> list[Prediction]:
            return onnx_runtime.generate(directory, sources, max_new_tokens=longest)

        def by_ctranslate2(directory: Path, sources: list[str], longest: int) -> list[Prediction]:
            model = ctranslate2.load(directory)
            return ctranslate2.generate(model, sources, max_new_tokens=longest)

        for model, generate in ((onnx_model, by_onnx), (ctranslate2_model, by_ctranslate2)):
            key = pipeline.key(model.asset)
            cases = parity.expected(model.path)
            sources = [case.source for case in cases]
            serves = model.info["serves"]
            longest = TrainingConfig(**model.info["config"]).max_target_tokens
            results = {
                directory: parity.compare(
                    task_of(model), cases, generate(model.path / directory, sources, longest)
                )
                for directory in dict.fromkeys((FP32, serves))
            }
            yield _result("fp32_as_transformers", key, results[FP32], exact=True)
            yield _result("serving_as_transformers", key, results[serves], exact=serves == FP32)

    return parity_checks


def _spark_nlp_check(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    key = pipeline.key("spark_nlp_model")

    @dg.asset_check(asset=key, blocking=True, pool="spark")
    def spark_nlp_as_transformers(
        spark: SparkResource, spark_nlp_model: Artifact
    ) -> dg.AssetCheckResult:
        """The saved pipeline, loaded again, answers as transformers does."""
        from qa_assets.deployment import parity, serving
        from qa_assets.deployment.engines import spark_nlp
        from qa_assets.deployment.quantization.recipes import FP32

        session, model = spark.spark_session, spark_nlp_model
        loaded = spark_nlp.load_pipeline(
            session, model.path / model.info["serves"] / serving.PIPELINE
        )
        cases = parity.expected(model.path)
        frame = session.createDataFrame(
            [(number, case.source) for number, case in enumerate(cases)],
            "row int, source string",
        ).repartition(session.sparkContext.defaultParallelism)
        rows = spark_nlp.generate(loaded, frame).select("row", "output").orderBy("row").collect()
        return _result(
            "spark_nlp_as_transformers",
            key,
            parity.compare(task_of(model), cases, [Prediction(row["output"]) for row in rows]),
            exact=model.info["recipe"] == FP32,
        )

    return spark_nlp_as_transformers

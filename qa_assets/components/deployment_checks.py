"""Checks of what serves: it must answer as the transformers model does.

`onnx_model` keeps what transformers answered in full precision to valid examples and hard cases. In
full precision an engine must say the same; in eight bits it may not lose score.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.components.spark_resource import SparkResource
from qa_assets.components.tables import markdown_table
from qa_assets.components.training import task_of
from qa_assets.core.artifacts import Artifact
from qa_assets.core.examples import Prediction
from qa_assets.core.task import Task
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    from qa_assets.deployment.parity import Parity


def build(pipeline: Pipeline) -> list[dg.AssetChecksDefinition]:
    """The checks of this stage."""
    return [_parity_checks(pipeline), _spark_nlp_check(pipeline)]


def _result(
    pipeline: Pipeline, asset: str, check: str, parity: "Parity", exact: bool
) -> dg.AssetCheckResult:
    return pipeline.result(
        asset,
        check,
        parity.same if exact else parity.as_good,
        must_be="the same" if exact else "as good",
        prompts=parity.prompts,
        equal=parity.equal,
        largest_difference_of_a_probability=parity.farthest,
        score_loss=parity.loss,
        score_loss_interval=str([round(end, 2) for end in parity.loss_interval]),
        differing=markdown_table(parity.differing) if parity.differing else "none",
    )


def _parity_checks(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    engines = ["onnx"] if pipeline.task.kind == "encoder" else ["onnx", "ctranslate2"]

    @dg.multi_asset_check(
        name=pipeline.op("parity_checks"),
        specs=[
            dg.AssetCheckSpec(
                f"{name}_as_transformers", asset=pipeline.key(f"{engine}_model"), blocking=True
            )
            for engine in engines
            for name in ("fp32", "serving")
        ],
        ins=pipeline.keys(*(f"{engine}_model" for engine in engines)),
        pool="training",
        description="Each format, in full precision and as it serves, abstentions included.",
    )
    def parity_checks(**models: Artifact) -> Iterator[dg.AssetCheckResult]:
        from qa_assets.deployment import parity
        from qa_assets.deployment.quantization.recipes import FP32

        for model in models.values():
            task, serves = task_of(model), model.info["serves"]
            cases = parity.expected(model.path)
            sources = [case.source for case in cases]
            results = {
                directory: parity.compare(task, cases, _outputs(task, model, directory, sources))
                for directory in dict.fromkeys((FP32, serves))
            }
            for kind, name in (("fp32", FP32), ("serving", serves)):
                check, exact = f"{kind}_as_transformers", name == FP32
                yield _result(pipeline, model.asset, check, results[name], exact)

    return parity_checks


def _outputs(task: Task, model: Artifact, directory: str, sources: list[str]) -> list[Prediction]:
    """What the engine of a model says to the sources of prompts."""
    from qa_assets.deployment.engines import onnx_encoder, onnx_runtime
    from qa_assets.models import ctranslate2

    path, config = model.path / directory, TrainingConfig(**model.info["config"])
    if task.kind == "encoder":
        return onnx_encoder.classify(path, sources, max_tokens=config.max_source_tokens)
    longest = config.max_target_tokens
    if model.asset == "onnx_model":
        return onnx_runtime.generate(path, sources, max_new_tokens=longest)
    return ctranslate2.generate(ctranslate2.load(path), sources, max_new_tokens=longest)


def _spark_nlp_check(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=pipeline.key("spark_nlp_model"), blocking=True, pool="spark")
    def spark_nlp_as_transformers(
        spark: SparkResource, spark_nlp_model: Artifact
    ) -> dg.AssetCheckResult:
        """The saved pipeline, loaded again, predicts as transformers does."""
        from qa_assets.deployment import parity, serving
        from qa_assets.deployment.quantization.recipes import FP32

        model, task = spark_nlp_model, task_of(spark_nlp_model)
        cases = parity.expected(model.path)
        directory, sources = model.path / model.info["serves"], [case.source for case in cases]
        outputs = serving.outputs(spark.spark_session, directory, sources)
        result, exact = parity.compare(task, cases, outputs), model.info["recipe"] == FP32
        return _result(pipeline, model.asset, "spark_nlp_as_transformers", result, exact)

    return spark_nlp_as_transformers

"""What serves: the champion as ONNX graphs, in CTranslate2, and as a Spark NLP pipeline."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from qa_assets.components import deployment_checks
from qa_assets.components.pipeline import Pipeline, code_version, digest
from qa_assets.components.spark_resource import SparkResource
from qa_assets.components.tables import markdown_table
from qa_assets.components.training import task_of
from qa_assets.core.artifacts import Artifact, Draft
from qa_assets.core.examples import Budget, Example, read_examples
from qa_assets.core.versions import git_commit
from qa_assets.deployment.config import EngineName, ServingConfig
from qa_assets.models.tokens import SPIECE, PieceCounter
from qa_assets.settings import Settings
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    from qa_assets.deployment.quantization.recipes import Measurement

_WHAT = {
    "onnx_model": "Encoder and decoder of the champion as ONNX, its abstention bias baked into the "
    "graph: in full precision, and in the fastest eight-bit form that loses no quality.",
    "ctranslate2_model": "The same for CTranslate2, the second engine.",
}


def build(pipeline: Pipeline) -> dg.Definitions:
    """The assets and checks of this stage."""
    encoder = pipeline.task.kind == "encoder"
    exported = _onnx_encoder(pipeline) if encoder else _serving_models(pipeline)
    assets = [exported, _spark_nlp_model(pipeline)]
    return dg.Definitions(assets=assets, asset_checks=deployment_checks.build(pipeline))


def _serving_models(pipeline: Pipeline) -> dg.AssetsDefinition:
    serving: ServingConfig = pipeline.config.serving
    shaping = serving.model_dump(mode="json", exclude={"engine"})

    def spec(name: str, kind: str) -> dg.AssetSpec:
        return dg.AssetSpec(
            **pipeline.spec(name, {kind}, "ml"),
            deps=[pipeline.key("champion"), pipeline.key("valid_split")],
            code_version=code_version("4", shaping),
            description=_WHAT[name],
        )

    @dg.multi_asset(
        name=pipeline.op("serving_models"),
        specs=[spec("onnx_model", "onnx"), spec("ctranslate2_model", "ctranslate2")],
        ins=pipeline.keys("champion", "valid_split"),
        pool="training",
    )
    def serving_models(
        settings: dg.ResourceParam[Settings], champion: Artifact, valid_split: Artifact
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Both formats in one step: they share the calibration and the compared examples."""
        from qa_assets.deployment import parity
        from qa_assets.deployment.quantization import prepare, recipes

        task, store = task_of(champion), pipeline.store(settings)
        config = TrainingConfig(**champion.info["config"])
        examples = read_examples(valid_split.path / "rows")
        calibrating, compared = _samples(examples, serving)
        data = recipes.RecipeData(task, compared, config.max_target_tokens)
        with tempfile.TemporaryDirectory(prefix="qa-assets-") as scratch:
            weights = prepare.prepare_weights(
                champion.path,
                Path(scratch),
                serving.alphas,
                [task.prompts(example)[0].source for example in calibrating],
                max_new_tokens=config.max_target_tokens,
            )
            with store.write("onnx_model", champion, valid_split) as draft:
                chosen, measured = recipes.export_best(
                    champion.path, weights, draft.path, recipes.candidates(serving.alphas), data
                )
                counter = PieceCounter(champion.path / SPIECE)
                budget = Budget(counter, config.max_source_tokens, config.window_overlap_tokens)
                cases = parity.cases(task, examples, serving.parity_examples, budget)
                parity.expect(champion.path, task, cases, draft.path, config.predict_options)
                _describe(draft, champion, shaping, chosen, measured)
            yield _result(pipeline, draft, measured)

            onnx_model = draft.done()
            with store.write("ctranslate2_model", champion, valid_split) as draft:
                chosen, measured = recipes.convert_best(champion.path, weights, draft.path, data)
                shutil.copy(onnx_model.path / parity.FILE, draft.path)
                _describe(draft, champion, shaping, chosen, measured)
                _sign(draft.path / draft.info["serves"], "ctranslate2", champion, draft.info)
            yield _result(pipeline, draft, measured)

    return serving_models


def _onnx_encoder(pipeline: Pipeline) -> dg.AssetsDefinition:
    serving: ServingConfig = pipeline.config.serving
    shaping = serving.model_dump(mode="json", exclude={"engine", "alphas", "calibration_examples"})

    @dg.asset(
        **pipeline.spec("onnx_model", {"onnx"}, "ml"),
        ins=pipeline.keys("champion", "valid_split"),
        code_version=code_version("1", shaping),
        pool="training",
        description="The champion as an ONNX graph: in full precision, and in the fastest "
        "eight-bit form that loses no quality.",
    )
    def onnx_model(
        settings: dg.ResourceParam[Settings], champion: Artifact, valid_split: Artifact
    ) -> dg.MaterializeResult[None]:
        from qa_assets.deployment import parity
        from qa_assets.deployment.quantization import recipes

        task, config = task_of(champion), TrainingConfig(**champion.info["config"])
        examples = read_examples(valid_split.path / "rows")
        _, compared = _samples(examples, serving)
        data = recipes.RecipeData(task, compared, config.max_target_tokens)
        longest = config.max_source_tokens
        with pipeline.store(settings).write("onnx_model", champion, valid_split) as draft:
            chosen, measured = recipes.export_best_encoder(
                champion.path, draft.path, data, max_tokens=longest
            )
            cases = parity.cases(task, examples, serving.parity_examples)
            parity.expect(champion.path, task, cases, draft.path, config.predict_options)
            _describe(draft, champion, shaping, chosen, measured)
        return _result(pipeline, draft, measured)

    return onnx_model


def _spark_nlp_model(pipeline: Pipeline) -> dg.AssetsDefinition:
    @dg.asset(
        **pipeline.spec("spark_nlp_model", {"sparknlp", "pyspark"}, "ml"),
        ins=pipeline.keys("onnx_model"),
        code_version="3",
        pool="spark",
    )
    def spark_nlp_model(
        settings: dg.ResourceParam[Settings], spark: SparkResource, onnx_model: Artifact
    ) -> dg.MaterializeResult[None]:
        """The Spark NLP pipeline that predicts, with its tokenizer: ONNX Runtime in Spark."""
        from qa_assets.deployment import parity, serving

        config = TrainingConfig(**onnx_model.info["config"])
        graphs = onnx_model.path / onnx_model.info["serves"]
        with pipeline.store(settings).write("spark_nlp_model", onnx_model) as draft:
            place = draft.path / "model"
            serving.import_onnx(
                spark.spark_session, task_of(onnx_model), graphs, place, config.predict_options
            )
            shutil.copy(onnx_model.path / parity.FILE, draft.path)
            draft.data_version = onnx_model.data_version
            draft.info |= {**onnx_model.info, "serves": place.name}
            _sign(place, "spark_nlp", onnx_model, draft.info)
        return pipeline.materialized(
            draft.done(),
            recipe=onnx_model.info["recipe"],
            model_version=onnx_model.info["model_version"],
        )

    return spark_nlp_model


def _samples(
    examples: Sequence[Example], serving: ServingConfig
) -> tuple[list[Example], list[Example]]:
    """Examples to calibrate on, and others to compare recipes on: both spread over valid."""
    calibrated, compared = serving.calibration_examples, serving.recipe_examples
    calibrating = list(examples[:: max(5, len(examples) // calibrated)][:calibrated])
    ids = {example.id for example in calibrating}
    others = [example for example in examples if example.id not in ids]
    return calibrating, others[:: max(1, len(others) // compared)][:compared]


def _describe(
    draft: Draft,
    model: Artifact,
    shaping: dict[str, Any],
    chosen: str,
    measured: "Sequence[Measurement]",
) -> None:
    """Note in an artefact what it was made of, and which of its directories serves."""
    from qa_assets.deployment.quantization.recipes import FP32, INT8

    # the bytes of an export are not reproducible: optimum names weights in hash order
    draft.data_version = digest(model.data_version, chosen, shaping)
    draft.info |= {
        "task": model.info["task"],
        "config": model.info["config"],
        "model_version": model.data_version,
        "data": model.info.get("data"),
        "recipe": chosen,
        "recipes": [asdict(measurement) for measurement in measured],
        "serves": FP32 if chosen == FP32 else INT8,
    }


def _sign(place: Path, engine: EngineName, source: Artifact, info: dict[str, Any]) -> None:
    """Write the provenance beside a model that serves."""
    from qa_assets.deployment import provenance

    config = TrainingConfig(**info["config"])
    provenance.write(
        place,
        provenance.Provenance(
            engine=engine,
            task=info["task"],
            max_new_tokens=config.max_target_tokens,
            max_source_tokens=config.max_source_tokens,
            window_overlap_tokens=config.window_overlap_tokens,
            recipe=info["recipe"],
            made_of={
                "model": info["model_version"],
                source.asset: source.data_version,
                "data": info["data"],
                "code": git_commit(),
            },
        ),
    )


def _result(
    pipeline: Pipeline, draft: Draft, measured: "Sequence[Measurement]"
) -> dg.MaterializeResult[None]:
    artifact = draft.done()
    files = (artifact.path / artifact.info["serves"]).rglob("*")
    size = sum(file.stat().st_size for file in files if file.is_file())
    chosen = artifact.info["recipe"]
    rows = [
        asdict(row) | {"good enough": row.good, "chosen": row.recipe == chosen} for row in measured
    ]
    rounded = [
        {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]
    return pipeline.materialized(
        artifact,
        recipe=chosen,
        megabytes=size / 1e6,
        recipes=markdown_table(rounded),
    )

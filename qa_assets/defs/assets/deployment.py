"""What serves: the champion as ONNX graphs, in CTranslate2, and as a Spark NLP pipeline."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from qa_assets.core.artifacts import Artifact, ArtifactStore, Draft
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import markdown_table
from qa_assets.defs.versions import data_version
from qa_assets.deployment.provenance import Engine, Provenance
from qa_assets.evaluation.comparison import read_split
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering import metric
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    from qa_assets.deployment.quantization.recipes import Measured, Task


def _spec(name: str, kinds: set[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        deps=["champion", "valid_split"],
        group_name="deployment",
        kinds=kinds,
        owners=["team:ml"],
        code_version="3",
        description=_WHAT[name],
    )


_WHAT = {
    "onnx_model": "Encoder and decoder of the champion as ONNX, its abstention bias baked into the "
    "graph: in full precision, and in the fastest eight-bit form that loses no quality.",
    "ctranslate2_model": "The same for CTranslate2, the second engine.",
}


@dg.multi_asset(
    specs=[_spec("onnx_model", {"onnx"}), _spec("ctranslate2_model", {"ctranslate2"})],
    pool="training",
)
def serving_models(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> Iterator[dg.MaterializeResult[None]]:
    """Both formats in one step: they share the calibration, and the questions compared on."""
    from qa_assets.deployment import parity
    from qa_assets.deployment.quantization import prepare, recipes
    from qa_assets.tasks.question_answering.windows import PieceCounter, Windows

    model, valid = store.latest("champion"), store.latest("valid_split")
    config = TrainingConfig(**model.info["config"])
    rows = read_split(valid.path / "rows", ["question", "context", "source", "references", "title"])
    alphas = settings.serving.alphas
    calibrating, task = _task(settings, rows, config)
    with tempfile.TemporaryDirectory(prefix="qa-assets-") as scratch:
        weights = prepare.make_ready(
            model.path, Path(scratch), alphas, calibrating, max_new_tokens=task.max_new_tokens
        )
        with store.write("onnx_model", model, valid) as draft:
            chosen, measured = recipes.export_best(
                model.path, weights, draft.path, recipes.candidates(alphas), task
            )
            counter = PieceCounter(model.path / "spiece.model")
            windows = Windows(counter, config.max_source_tokens, config.window_overlap_tokens)
            parity.expect(
                model.path,
                parity.questions(rows, settings.serving.parity_questions, windows),
                draft.path,
                null_text=settings.data.no_answer,
                **config.decoding,
            )
            _describe(draft, model, settings, chosen, measured)
        yield _result(draft, measured)

        onnx_model = draft.done()
        with store.write("ctranslate2_model", model, valid) as draft:
            chosen, measured = recipes.convert_best(model.path, weights, draft.path, task)
            shutil.copy(onnx_model.path / parity.FILE, draft.path)
            _describe(draft, model, settings, chosen, measured)
            _sign(draft.path / draft.info["serves"], "ctranslate2", model, draft.info, settings)
        yield _result(draft, measured)


@dg.asset(
    deps=["onnx_model"],
    group_name="deployment",
    kinds={"sparknlp", "pyspark"},
    owners=["team:ml"],
    code_version="2",
    pool="spark",
)
def spark_nlp_model(
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
    spark: SparkResource,
) -> dg.MaterializeResult[None]:
    """The pipeline that answers in Spark: DocumentAssembler, then T5Transformer on ONNX Runtime."""
    from qa_assets.deployment import parity, serving
    from qa_assets.deployment.engines import spark_nlp

    exported = store.latest("onnx_model")
    config = TrainingConfig(**exported.info["config"])
    graphs = exported.path / exported.info["serves"]
    with store.write("spark_nlp_model", exported) as draft:
        place = draft.path / "model"
        spark_nlp.import_onnx(
            spark.spark_session,
            graphs,
            place / serving.PIPELINE,
            max_new_tokens=config.max_target_tokens,
        )
        shutil.copy(graphs / "assets" / serving.SENTENCE_PIECE, place)
        shutil.copy(exported.path / parity.FILE, draft.path)
        draft.data_version = exported.data_version
        draft.info |= {**exported.info, "serves": place.name}
        _sign(place, "spark_nlp", exported, draft.info, settings)
    return materialized(
        draft.done(),
        model_version=exported.info["model_version"],
        recipe=exported.info["recipe"],
    )


def _task(
    settings: Settings, rows: Sequence[dict[str, Any]], config: TrainingConfig
) -> "tuple[list[str], Task]":
    """Sources to calibrate on, and what recipes are compared on: other rows, spread over valid."""
    from qa_assets.deployment.quantization.recipes import Task

    serving = settings.serving
    calibrating = rows[:: max(5, len(rows) // serving.calibration_questions)]
    calibrating = calibrating[: serving.calibration_questions]
    chosen = {id(row) for row in calibrating}
    others = [row for row in rows if id(row) not in chosen]
    others = others[:: max(1, len(others) // serving.recipe_questions)]
    task = Task(
        others[: serving.recipe_questions],
        config.max_target_tokens,
        settings.data.no_answer,
        metric.f1_each,
    )
    return [row["source"] for row in calibrating], task


def _describe(
    draft: Draft, model: Artifact, settings: Settings, chosen: str, measured: "Sequence[Measured]"
) -> None:
    """Note in an artefact what it was made of, and which of its directories serves."""
    from qa_assets.deployment.quantization.recipes import FP32, INT8

    # the bytes of an export are not reproducible: optimum names weights in hash order
    draft.data_version = data_version(f"{model.data_version} {chosen}", settings, draft.asset)
    draft.info |= {
        "config": model.info["config"],
        "model_version": model.data_version,
        "data": model.info.get("data"),
        "recipe": chosen,
        "recipes": [asdict(one) for one in measured],
        "serves": FP32 if chosen == FP32 else INT8,
    }


def _sign(
    place: Path, engine: Engine, made_of: Artifact, info: dict[str, Any], settings: Settings
) -> None:
    from qa_assets.deployment import provenance
    from qa_assets.promotion.champions import git_commit

    config = TrainingConfig(**info["config"])
    provenance.write(
        place,
        Provenance(
            engine=engine,
            no_answer=settings.data.no_answer,
            max_new_tokens=config.max_target_tokens,
            max_source_tokens=config.max_source_tokens,
            window_overlap_tokens=config.window_overlap_tokens,
            recipe=info["recipe"],
            made_of={
                "model": info["model_version"],
                made_of.asset: made_of.data_version,
                "data": info["data"],
                "code": git_commit(),
            },
        ),
    )


def _result(draft: Draft, measured: "Sequence[Measured]") -> dg.MaterializeResult[None]:
    done = draft.done()
    size = sum(
        file.stat().st_size
        for file in (done.path / done.info["serves"]).rglob("*")
        if file.is_file()
    )
    table = [
        asdict(one) | {"good enough": one.good, "chosen": one.recipe == done.info["recipe"]}
        for one in measured
    ]
    rounded = [
        {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}
        for row in table
    ]
    return materialized(
        done, megabytes=size / 1e6, recipe=done.info["recipe"], recipes=markdown_table(rounded)
    )

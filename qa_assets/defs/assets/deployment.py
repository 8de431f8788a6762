"""What serves: the ONNX graphs of the champion, and the Spark NLP pipeline made of them."""

import shutil

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.results import materialized
from qa_assets.training.config import TrainingConfig
from qa_assets.training.selection import EXPECTED


@dg.asset(
    deps=["champion"],
    group_name="deployment",
    kinds={"onnx"},
    owners=["team:ml"],
    code_version="1",
    pool="training",
)
def onnx_model(store: dg.ResourceParam[ArtifactStore]) -> dg.MaterializeResult[None]:
    """Encoder and decoder of the champion as ONNX, its abstention bias baked into the graph."""
    from qa_assets.deployment import onnx

    model = store.latest("champion")
    with store.write("onnx_model", model) as draft:
        onnx.export(model.path, draft.path / "onnx")
        shutil.copy(model.path / EXPECTED, draft.path)
        # the bytes of an export are not reproducible: optimum names weights in hash order
        draft.data_version = model.data_version
        draft.info |= {"config": model.info["config"], "model_version": model.data_version}
    size = sum(file.stat().st_size for file in draft.done().path.rglob("*.onnx"))
    return materialized(draft.done(), megabytes=size / 1e6)


@dg.asset(
    deps=["onnx_model"],
    group_name="deployment",
    kinds={"sparknlp", "pyspark"},
    owners=["team:ml"],
    code_version="1",
    pool="spark",
)
def spark_nlp_model(
    store: dg.ResourceParam[ArtifactStore], spark: SparkResource
) -> dg.MaterializeResult[None]:
    """The pipeline that answers in Spark: DocumentAssembler, then T5Transformer on ONNX Runtime."""
    from qa_assets.deployment import spark_nlp

    exported = store.latest("onnx_model")
    config = TrainingConfig(**exported.info["config"])
    with store.write("spark_nlp_model", exported) as draft:
        spark_nlp.import_onnx(
            spark.spark_session,
            exported.path / "onnx",
            draft.path / "pipeline",
            max_new_tokens=config.max_target_tokens,
        )
        shutil.copy(exported.path / EXPECTED, draft.path)
        draft.data_version = exported.data_version
        draft.info |= exported.info
    return materialized(draft.done(), model_version=exported.info["model_version"])

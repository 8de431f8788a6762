"""The saved and reloaded pipeline predicts as transformers does, row for row."""

import json
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qa_assets.deployment.engines.spark_nlp import (
    SparkNlpError,
    generate,
    import_onnx,
    load_model,
)
from qa_assets_tests.deployment.conftest import BLANK, MAX_NEW_TOKENS, SOURCES, Reference

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_outputs_equal_transformers(
    spark: "SparkSession", pipeline_dir: Path, reference: Reference
) -> None:
    """Blanks lie between the others: they would shift outputs."""
    sources = [*BLANK, *SOURCES, None]
    expected = [*[""] * len(BLANK), *reference.texts, ""]
    order = random.Random(7).sample(range(len(sources)), len(sources))
    frame = spark.createDataFrame(
        [(row, {"key": str(row)}, sources[row]) for row in order],
        "row int, metadata map<string,string>, text string",
    ).repartition(2)
    result = generate(load_model(pipeline_dir), frame, source="text", output="out")
    assert result.columns == ["row", "metadata", "text", "out"]
    rows = result.collect()
    by_number = {row["row"]: row for row in rows}
    assert len(rows) == len(by_number) == len(sources)
    ordered = [by_number[number] for number in range(len(sources))]
    assert [row["out"] for row in ordered] == expected
    assert [row["text"] for row in ordered] == sources
    assert [row["metadata"] for row in ordered] == [{"key": str(n)} for n in range(len(sources))]


def test_rows_of_several_texts_get_as_many_outputs(
    spark: "SparkSession", pipeline_dir: Path, reference: Reference
) -> None:
    sources = [[], SOURCES[:2], None, SOURCES[2:3], [""], SOURCES[3:7]]
    frame = spark.createDataFrame(list(enumerate(sources)), "row int, source array<string>")
    rows = generate(load_model(pipeline_dir), frame.coalesce(1)).collect()
    texts = reference.texts
    outputs = [row["output"] for row in sorted(rows)]
    assert outputs == [[], texts[:2], [], texts[2:3], [], texts[3:7]]
    assert [row["source"] for row in sorted(rows)] == sources


def test_a_second_import_is_refused(
    spark: "SparkSession", onnx_dir: Path, pipeline_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(SparkNlpError, match="has imported a model before"):
        import_onnx(spark, onnx_dir, tmp_path / "out", max_new_tokens=MAX_NEW_TOKENS)
    assert not list(tmp_path.iterdir())
    assert [item.name for item in pipeline_dir.parent.iterdir()] == [pipeline_dir.name]


def test_missing_files_are_named(spark: "SparkSession", onnx_dir: Path, tmp_path: Path) -> None:
    incomplete = tmp_path / "onnx"
    shutil.copytree(onnx_dir, incomplete)
    (incomplete / "decoder_model_merged.onnx").unlink()
    with pytest.raises(SparkNlpError, match=r"has no decoder_model_merged\.onnx"):
        import_onnx(spark, incomplete, tmp_path / "out", max_new_tokens=8)
    with pytest.raises(SparkNlpError, match="holds no saved pipeline"):
        load_model(tmp_path)


def test_parameters_are_saved(pipeline_dir: Path) -> None:
    (stage,) = (pipeline_dir / "stages").glob("*T5*/metadata/part-00000")
    parameters = json.loads(stage.read_text())["paramMap"]
    assert parameters["batchSize"] == 1
    assert parameters["maxNewTokens"] == parameters["maxOutputLength"] == MAX_NEW_TOKENS
    assert parameters["task"] == ""

"""The fastest recipe that loses no quality is chosen, and what was measured is what is written."""

from dataclasses import replace
from pathlib import Path

import pytest

from qa_assets.core.examples import Prediction
from qa_assets.deployment.engines import onnx_runtime
from qa_assets.deployment.parity import primary_scores
from qa_assets.deployment.quantization import recipes
from qa_assets.deployment.quantization.prepare import prepare_weights
from qa_assets.deployment.quantization.recipes import FP32, INT8, Measurement, Recipe, RecipeData
from qa_assets.models import ctranslate2
from qa_assets_tests.deployment.conftest import EXAMPLES, MAX_NEW_TOKENS, QA, SOURCES, Reference

FULL = Measurement(FP32, 60.0, 0.0, [0.0, 0.0], 100.0, 300.0, 0)
GOOD = replace(FULL, recipe="good", loss=0.1, loss_interval=[-0.2, 0.4], cpu_ms=50.0, differing=9)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], FP32),
        ([GOOD], "good"),
        ([GOOD, replace(GOOD, recipe="faster", cpu_ms=40.0)], "faster"),
        ([GOOD, replace(GOOD, recipe="loses", cpu_ms=40.0, loss=0.31)], "good"),
        ([GOOD, replace(GOOD, recipe="may lose", cpu_ms=4.0, loss_interval=[-0.2, 0.5])], "good"),
        ([replace(GOOD, cpu_ms=90.0)], FP32),
        ([GOOD, replace(GOOD, recipe="closer", cpu_ms=55.0, differing=4)], "closer"),
        ([GOOD, replace(GOOD, recipe="slower", cpu_ms=60.0, differing=4)], "good"),
    ],
)
def test_the_fastest_that_is_good_enough(others: list[Measurement], chosen: str) -> None:
    assert recipes.best_of([FULL, *others]) == chosen


@pytest.fixture(scope="module")
def data(reference: Reference) -> RecipeData:
    """The predictions of transformers are right, so that full precision scores 100."""
    texts = [QA.resolve([Prediction(text)]).text for text in reference.texts]
    examples = [
        replace(example, references=[text] if text else [])
        for example, text in zip(EXAMPLES, texts, strict=False)
    ]
    return RecipeData(QA, examples, MAX_NEW_TOKENS)


@pytest.fixture(scope="module")
def weights(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    out = tmp_path_factory.mktemp("weights")
    return prepare_weights(model_dir, out, [0.5, 0.8], SOURCES[:8], max_new_tokens=4)


def test_onnx_in_full_precision_and_in_int8(
    model_dir: Path, weights: dict[float, Path], data: RecipeData, tmp_path: Path
) -> None:
    tried = [Recipe(0.5), Recipe(0.5, ("/wo/", "/lm_head/"), "wo and head"), Recipe(0.8)]
    chosen, measurements = recipes.export_best(model_dir, weights, tmp_path, tried, data)
    assert [each.recipe for each in measurements] == [FP32, *(recipe.name for recipe in tried)]
    full, whole, partly, _ = measurements
    assert (full.score, full.loss, full.differing) == (100, 0, 0)
    assert whole.megabytes < partly.megabytes < full.megabytes
    assert all(each.loss == pytest.approx(100 - each.score) for each in measurements)
    directories = {FP32: FP32} if chosen == FP32 else {FP32: FP32, INT8: chosen}
    assert {item.name for item in tmp_path.iterdir()} == set(directories)
    sources = SOURCES[: len(EXAMPLES)]
    by_recipe = {each.recipe: each for each in measurements}
    for directory, recipe in directories.items():
        outputs = onnx_runtime.generate(
            tmp_path / directory, sources, max_new_tokens=MAX_NEW_TOKENS
        )
        predictions = [QA.resolve([output]) for output in outputs]
        scores = primary_scores(QA, data.examples, predictions)
        assert 100 * sum(scores) / len(scores) == pytest.approx(by_recipe[recipe].score)


def test_ctranslate2_in_full_precision_and_in_int8(
    model_dir: Path, weights: dict[float, Path], data: RecipeData, tmp_path: Path
) -> None:
    chosen, measurements = recipes.convert_best(model_dir, weights, tmp_path, data)
    names = [FP32, *(Recipe(alpha).name for alpha in weights)]
    assert [each.recipe for each in measurements] == names
    assert measurements[0].score == 100
    assert measurements[1].megabytes < measurements[0].megabytes
    directories = {FP32} if chosen == FP32 else {FP32, INT8}
    assert {item.name for item in tmp_path.iterdir()} == directories
    for directory in directories:
        model = ctranslate2.load(tmp_path / directory)
        assert ctranslate2.generate(model, SOURCES[:1], max_new_tokens=1)

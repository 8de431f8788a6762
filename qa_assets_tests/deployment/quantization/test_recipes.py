"""The fastest recipe that loses no quality is chosen, and what is chosen is what was measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from qa_assets.deployment.engines import ctranslate2, onnx_runtime
from qa_assets.deployment.quantization import recipes
from qa_assets.deployment.quantization.prepare import make_ready
from qa_assets.deployment.quantization.recipes import FP32, INT8, Measured, Recipe, Task
from qa_assets.models.decoding import to_answers
from qa_assets.tasks.question_answering import metric
from qa_assets_tests.deployment.conftest import MAX_NEW_TOKENS, SOURCES, Reference

FULL = Measured(FP32, 60.0, 0.0, [0.0, 0.0], 100.0, 300.0, 0)
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
def test_the_fastest_that_is_good_enough(others: list[Measured], chosen: str) -> None:
    assert recipes.best_of([FULL, *others]) == chosen


@pytest.fixture(scope="module")
def task(model_dir: Path, reference: Reference) -> Task:
    """The answers of transformers are right, so that full precision scores 100."""
    said = to_answers(reference.answers, "unavailable")
    rows = [
        {"source": source, "references": [text] if text else [], "title": str(number % 7)}
        for number, (source, text) in enumerate(zip(SOURCES, said, strict=True))
    ]
    return Task(rows, MAX_NEW_TOKENS, "unavailable", metric.f1_each)


@pytest.fixture(scope="module")
def weights(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    return make_ready(
        model_dir, tmp_path_factory.mktemp("weights"), [0.5, 0.8], SOURCES[:8], max_new_tokens=4
    )


def test_onnx_in_full_precision_and_in_eight_bits(
    model_dir: Path, weights: dict[float, Path], task: Task, tmp_path: Path
) -> None:
    tried = [Recipe(0.5), Recipe(0.5, ("/wo/", "/lm_head/"), "wo and head"), Recipe(0.8)]
    chosen, measured = recipes.export_best(model_dir, weights, tmp_path, tried, task)
    assert [one.recipe for one in measured] == [FP32, *(one.name for one in tried)]
    full, whole, partly, _ = measured
    assert (full.f1, full.loss, full.differing) == (100, 0, 0)
    assert whole.megabytes < partly.megabytes < full.megabytes
    assert all(one.loss == pytest.approx(100 - one.f1) for one in measured)
    made = {FP32} if chosen == FP32 else {FP32, INT8}
    assert {item.name for item in tmp_path.iterdir()} == made
    sources = [row["source"] for row in task.rows]
    for place in made:
        texts = onnx_runtime.answer(tmp_path / place, sources, max_new_tokens=MAX_NEW_TOKENS)
        (found,) = (one for one in measured if (one.recipe == FP32) == (place == FP32)
                    and one.recipe in (FP32, chosen))  # fmt: skip
        said = to_answers(texts, "unavailable")
        scores = [metric.f1_each(*pair) for pair in zip(
            said, [row["references"] for row in task.rows], strict=True
        )]  # fmt: skip
        assert 100 * sum(scores) / len(scores) == pytest.approx(found.f1)


def test_ctranslate2_in_full_precision_and_in_eight_bits(
    model_dir: Path, weights: dict[float, Path], task: Task, tmp_path: Path
) -> None:
    chosen, measured = recipes.convert_best(model_dir, weights, tmp_path, task)
    assert [one.recipe for one in measured] == [FP32, *(Recipe(alpha).name for alpha in weights)]
    assert measured[0].f1 == 100
    assert measured[1].megabytes < measured[0].megabytes
    made = {FP32} if chosen == FP32 else {FP32, INT8}
    assert {item.name for item in tmp_path.iterdir()} == made
    for place in made:
        assert ctranslate2.answer(ctranslate2.load(tmp_path / place), SOURCES[:1], max_new_tokens=1)

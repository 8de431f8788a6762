"""Which eight-bit recipe serves: candidates compared with full precision on held-out rows.

The fastest of those whose F1 is proved to be no worse than a bound, else full precision. Knows
rows of text to text, and no question.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.deployment.engines import ctranslate2, onnx_export, onnx_runtime
from qa_assets.deployment.parity import paired_loss
from qa_assets.models import base_model
from qa_assets.models.decoding import to_answers

logger = logging.getLogger(__name__)

FP32, INT8 = "fp32", "int8"
"""Directories of what is made."""
MOST_LOSS, MOST_LOSS_BOUND = 0.3, 0.5
"""F1, in percent, that a recipe may lose: the mean, and the upper end of its 95 % interval."""
SAME_SPEED = 1.15
"""Of two measurements of the same thing, the slower may take so many times the time."""


@dataclass(frozen=True)
class Recipe:
    """How to quantise.

    Attributes:
        alpha: of smoothing, before the weights are rounded.
        keep: names of products in the graphs, as regular expressions, that stay in full precision.
        kept: the same, for people.
    """

    alpha: float
    keep: tuple[str, ...] = ()
    kept: str = "none"

    @property
    def name(self) -> str:
        """Short, for tables and file names."""
        return f"int8, alpha {self.alpha}, fp32: {self.kept}"


def candidates(alphas: Sequence[float]) -> list[Recipe]:
    """What is tried with ONNX: each alpha, with all products in int8 or the outliers' in fp32.

    `wo`, which ends a feed-forward layer, has the largest activations by far.
    """
    kept: dict[str, tuple[str, ...]] = {"none": (), "encoder wo": (r"^/block.*/wo/",)}
    return [Recipe(alpha, keep, name) for alpha in alphas for name, keep in kept.items()]


@dataclass(frozen=True)
class Measured:
    """What a candidate does on the held-out rows; F1 in percent, loss against full precision."""

    recipe: str
    f1: float
    loss: float
    loss_interval: list[float]
    cpu_ms: float
    megabytes: float
    differing: int

    @property
    def good(self) -> bool:
        """Whether it loses no more than it may."""
        return self.loss < MOST_LOSS and self.loss_interval[1] < MOST_LOSS_BOUND


@dataclass(frozen=True)
class Task:
    """What candidates are measured with.

    Attributes:
        rows: of `source`, `references` and `title`, the article; neither trained nor calibrated on.
        max_new_tokens: longest answer, in tokens.
        null_text: what the model says to abstain.
        score_each: F1 from 0 to 1 of an answer against references.
    """

    rows: Sequence[dict[str, Any]]
    max_new_tokens: int
    null_text: str
    score_each: Callable[[str, Sequence[str]], float]


def export_best(
    model_dir: Path,
    weights: Mapping[float, Path],
    out: Path,
    recipes: Sequence[Recipe],
    task: Task,
) -> tuple[str, list[Measured]]:
    """Export to ONNX, in full precision and by the best recipe.

    Args:
        model_dir: a Hugging Face directory.
        weights: by alpha the directories of `eight_bits.make_ready`.
        out: gets `fp32` and, if a recipe is good enough, `int8`.
        recipes: the candidates.
        task: what they are measured with.

    Returns:
        The name of the chosen recipe, `fp32` if none is good enough, and all measurements, full
        precision first.
    """
    bias = onnx_export.token_bias(model_dir)
    onnx_export.export(model_dir, out / FP32)
    compared = _Comparison(task, lambda path, sources: onnx_runtime.answer(
        path, sources, max_new_tokens=task.max_new_tokens
    ))  # fmt: skip
    compared.measure(FP32, out / FP32)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        for alpha, ready in weights.items():
            graphs = onnx_export.graphs_of(base_model.load(ready)[0], model_dir, bias)
            for recipe in (one for one in recipes if one.alpha == alpha):
                place = Path(scratch) / f"{alpha}-{recipe.kept}"
                onnx_export.save(onnx_export.quantize(graphs, recipe.keep), model_dir, place)
                compared.measure(recipe.name, place)
        chosen = compared.chosen()
        if chosen != FP32:
            compared.places[chosen].rename(out / INT8)
    return chosen, compared.measured


def convert_best(
    model_dir: Path, weights: Mapping[float, Path], out: Path, task: Task
) -> tuple[str, list[Measured]]:
    """Convert to CTranslate2, in full precision and by the best recipe.

    As `export_best`; CTranslate2 quantises all weights, so that recipes differ in alpha alone.
    """
    bias = onnx_export.token_bias(model_dir)

    def answer(path: Path, sources: Sequence[str]) -> list[str]:
        model = ctranslate2.load(path, len(os.sched_getaffinity(0)))
        return ctranslate2.answer(model, sources, max_new_tokens=task.max_new_tokens)[0]

    compared = _Comparison(task, answer)
    ctranslate2.convert(model_dir, out / FP32, token_bias=bias, quantization="float32")
    compared.measure(FP32, out / FP32)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        for alpha, ready in weights.items():
            place = Path(scratch) / str(alpha)
            ctranslate2.convert(ready, place, token_bias=bias, quantization="int8")
            compared.measure(Recipe(alpha).name, place)
        chosen = compared.chosen()
        if chosen != FP32:
            compared.places[chosen].rename(out / INT8)
    return chosen, compared.measured


class _Comparison:
    """Candidates measured one after the other, the first in full precision."""

    def __init__(self, task: Task, answer: Callable[[Path, Sequence[str]], list[str]]) -> None:
        self.task = task
        self.answer = answer
        self.measured: list[Measured] = []
        self.places: dict[str, Path] = {}
        self.answers: list[str] = []
        self.scores: list[float] = []

    def measure(self, name: str, place: Path) -> None:
        rows = self.task.rows
        sources = [row["source"] for row in rows]
        self.answer(place, sources[:2])  # loaded and warm
        started = time.process_time()
        texts = to_answers(self.answer(place, sources), self.task.null_text)
        cpu_s = time.process_time() - started
        scores = [
            self.task.score_each(a, row["references"]) for a, row in zip(texts, rows, strict=True)
        ]
        if not self.measured:
            self.answers, self.scores = texts, scores
        loss, loss_interval = paired_loss([row["title"] for row in rows], self.scores, scores)
        result = Measured(
            recipe=name,
            f1=100 * sum(scores) / len(scores),
            loss=loss,
            loss_interval=loss_interval,
            cpu_ms=1000 * cpu_s / len(rows),
            megabytes=sum(file.stat().st_size for file in place.rglob("*")) / 1e6,
            differing=sum(one != other for one, other in zip(self.answers, texts, strict=True)),
        )
        logger.info("%s", result)
        self.measured.append(result)
        self.places[name] = place

    def chosen(self) -> str:
        return best_of(self.measured)


def best_of(measured: Sequence[Measured]) -> str:
    """The name of the best that is good enough; of the first, full precision, if none is.

    Of those that are as fast as the fastest, as far as a clock can tell, the one that changes the
    fewest answers.
    """
    full, *others = measured
    good = [one for one in others if one.good and SAME_SPEED * one.cpu_ms < full.cpu_ms]
    least = min((one.cpu_ms for one in good), default=0.0)
    fast = [one for one in good if one.cpu_ms <= SAME_SPEED * least]
    return min(fast, key=lambda one: (one.differing, one.cpu_ms), default=full).recipe

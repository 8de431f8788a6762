"""Chooses the int8 recipe that serves: candidates are compared with full precision, on examples.

Among the candidates with a loss proved to be within bounds the fastest wins; without any, full
precision. How weights are prepared is in `prepare`, how graphs are quantised in `int8`.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import Task
from qa_assets.deployment.engines import onnx_encoder, onnx_export, onnx_runtime
from qa_assets.deployment.parity import paired_loss, primary_scores
from qa_assets.models import base_model, ctranslate2, logit_bias

logger = logging.getLogger(__name__)

FP32, INT8 = "fp32", "int8"
"""Names of the output directories."""
MAX_MEAN_LOSS, MAX_LOSS_BOUND = 0.3, 0.5
"""Percent of the primary metric that a recipe may lose: mean, and upper end of the interval."""
TIMING_NOISE = 1.15
"""Timing-noise tolerance: CPU times within this factor count as equal."""

Generate = Callable[[Path, Sequence[str]], list[Prediction]]
"""The outputs of the model in a directory for sources."""
Models = Iterator[tuple[str, Path]]
"""Names of recipes, and directories of models."""


@dataclass(frozen=True)
class Recipe:
    """How to quantise.

    Attributes:
        alpha: of SmoothQuant; None: without it.
        keep: regular expressions of names of products that stay in full precision.
        kept: what these are, for tables.
    """

    alpha: float | None
    keep: tuple[str, ...] = ()
    kept: str = "none"

    @property
    def name(self) -> str:
        """Short, for tables and file names."""
        smooth = "" if self.alpha is None else f", alpha {self.alpha}"
        return f"int8{smooth}, fp32: {self.kept}"


def candidates(alphas: Sequence[float]) -> list[Recipe]:
    """The recipes for ONNX: for each alpha all products in int8, or those with outliers in fp32.

    `wo`, which ends a feed-forward layer, has the largest activations by far.
    """
    kept: dict[str, tuple[str, ...]] = {"none": (), "encoder wo": (r"^/block.*/wo/",)}
    return [Recipe(alpha, keep, name) for alpha in alphas for name, keep in kept.items()]


@dataclass(frozen=True)
class Measurement:
    """A candidate on the examples: score in percent, loss and difference to full precision.

    `score` is the mean of the primary metric, `loss_interval` a paired 95 % interval, `cpu_ms` the
    CPU time of an example, `differing` the number of predictions that changed.
    """

    recipe: str
    score: float
    loss: float
    loss_interval: list[float]
    cpu_ms: float
    megabytes: float
    differing: int

    @property
    def good(self) -> bool:
        """Whether the loss is within bounds."""
        return self.loss < MAX_MEAN_LOSS and self.loss_interval[1] < MAX_LOSS_BOUND


@dataclass(frozen=True)
class RecipeData:
    """What candidates are compared on: examples neither trained nor calibrated on."""

    task: Task
    examples: Sequence[Example]
    max_new_tokens: int


def export_best(
    model_dir: Path,
    weights: Mapping[float, Path],
    out: Path,
    recipes: Sequence[Recipe],
    data: RecipeData,
) -> tuple[str, list[Measurement]]:
    """Export to ONNX, in full precision and by the best recipe.

    `weights` has the directories of `prepare.prepare_weights` by alpha. `out` gets `fp32` and, if a
    recipe is good enough, `int8`.

    Returns:
        The name of the chosen recipe, `fp32` if none is good enough; and all measurements, full
        precision first.
    """
    bias = logit_bias.token_bias(model_dir)
    onnx_export.export(model_dir, out / FP32, max_new_tokens=data.max_new_tokens)

    def generate(path: Path, sources: Sequence[str]) -> list[Prediction]:
        return onnx_runtime.generate(path, sources, max_new_tokens=data.max_new_tokens)

    def quantized(scratch: Path) -> Models:
        for alpha, prepared in weights.items():
            graphs = onnx_export.export_graphs(base_model.load(prepared)[0], model_dir, bias)
            for recipe in (recipe for recipe in recipes if recipe.alpha == alpha):
                path = scratch / f"{alpha}-{recipe.kept}"
                int8_graphs = onnx_export.quantize(graphs, recipe.keep)
                onnx_export.save(int8_graphs, model_dir, path, max_new_tokens=data.max_new_tokens)
                yield recipe.name, path

    return _best(out, data, generate, quantized)


def convert_best(
    model_dir: Path, weights: Mapping[float, Path], out: Path, data: RecipeData
) -> tuple[str, list[Measurement]]:
    """Convert to CTranslate2, in full precision and by the best recipe.

    Like `export_best`; but CTranslate2 quantises all weights, so that recipes differ in alpha only.
    """
    bias = logit_bias.token_bias(model_dir)
    ctranslate2.convert(model_dir, out / FP32, token_bias=bias, quantization="float32")

    def generate(path: Path, sources: Sequence[str]) -> list[Prediction]:
        model = ctranslate2.load(path, len(os.sched_getaffinity(0)))
        return ctranslate2.generate(model, sources, max_new_tokens=data.max_new_tokens)

    def quantized(scratch: Path) -> Models:
        for alpha, prepared in weights.items():
            path = scratch / str(alpha)
            ctranslate2.convert(prepared, path, token_bias=bias, quantization="int8")
            yield Recipe(alpha).name, path

    return _best(out, data, generate, quantized)


def export_best_encoder(
    model_dir: Path, out: Path, data: RecipeData, *, max_tokens: int
) -> tuple[str, list[Measurement]]:
    """Like `export_best`, for an encoder with a classification head.

    Its activations have no outliers that would need SmoothQuant: either all products are in int8,
    or those that end a feed-forward layer stay in full precision.
    """
    onnx_encoder.export(model_dir, out / FP32)

    def classify(path: Path, sources: Sequence[str]) -> list[Prediction]:
        return onnx_encoder.classify(path, sources, max_tokens=max_tokens)

    def quantized(scratch: Path) -> Models:
        feed_forward_ends = (r"layer\.\d+/output/dense/",)
        for recipe in (Recipe(None), Recipe(None, feed_forward_ends, "feed-forward ends")):
            onnx_encoder.quantize(out / FP32, scratch / recipe.kept, recipe.keep)
            yield recipe.name, scratch / recipe.kept

    return _best(out, data, classify, quantized)


def _best(
    out: Path, data: RecipeData, generate: Generate, quantized: Callable[[Path], Models]
) -> tuple[str, list[Measurement]]:
    """Measure `out/fp32`, then the models quantised to a scratch directory; keep the best.

    It becomes `out/int8`, unless it is full precision, which stays in its place.
    """
    sources = [data.task.prompts(example)[0].source for example in data.examples]
    groups = [example.group for example in data.examples]
    measurements: list[Measurement] = []
    paths = {}
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        for name, path in chain([(FP32, out / FP32)], quantized(Path(scratch))):
            generate(path, sources[:2])  # load and warm up
            started = time.process_time()
            outputs = generate(path, sources)
            cpu_s = time.process_time() - started
            predictions = [data.task.resolve([output]) for output in outputs]
            texts = [prediction.text for prediction in predictions]
            scores = primary_scores(data.task, data.examples, predictions)
            if name == FP32:
                full_texts, full_scores = texts, scores
            loss, loss_interval = paired_loss(groups, full_scores, scores)
            measurement = Measurement(
                recipe=name,
                score=100 * sum(scores) / len(scores),
                loss=loss,
                loss_interval=loss_interval,
                cpu_ms=1000 * cpu_s / len(sources),
                megabytes=sum(file.stat().st_size for file in path.rglob("*")) / 1e6,
                differing=sum(full != text for full, text in zip(full_texts, texts, strict=True)),
            )
            logger.info("%s", measurement)
            measurements.append(measurement)
            paths[name] = path
        best = best_of(measurements)
        if best != FP32:
            paths[best].rename(out / INT8)
    return best, measurements


def best_of(measurements: Sequence[Measurement]) -> str:
    """The name of the best good candidate; of the first, full precision, if there is none.

    Among candidates as fast as the fastest, within timing noise, the fewest differing predictions
    win.
    """
    full, *others = measurements
    good = [other for other in others if other.good and TIMING_NOISE * other.cpu_ms < full.cpu_ms]
    least = min((candidate.cpu_ms for candidate in good), default=0.0)
    fast = [candidate for candidate in good if candidate.cpu_ms <= TIMING_NOISE * least]
    return min(
        fast, key=lambda candidate: (candidate.differing, candidate.cpu_ms), default=full
    ).recipe

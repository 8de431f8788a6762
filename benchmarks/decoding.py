"""Evaluating a split by our T5 decoder, transformers and CTranslate2: time, and equal answers.

    python benchmarks/decoding.py MODEL FILE [--questions 300] [--rounds 5] [--precision auto]

MODEL is the Hugging Face directory of a T5, FILE a SQuAD file. Two jobs, as evaluations need them:
`predictions` with confidences, and `margins` of abstention with the answers otherwise. `ours` is
`Seq2Seq` as it is; `generic` the same with transformers' forward, as for other architectures;
`generate` is transformers' own loop, as run_seq2seq_qa.py evaluates (predictions only). All read
the same prompts, tokenising included, and take turns in alternating order. CTranslate2 computes in
fp32; its conversion, due at every evaluation during a training, is timed apart.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from models import QA, read

from qa_assets.core.examples import Example, Prediction
from qa_assets.deployment.engines import ctranslate2
from qa_assets.models import decoding, t5, tokenization
from qa_assets.models.family import PredictOptions
from qa_assets.models.seq2seq import Seq2Seq

WARM_UP = 16
CHUNK = 500  # prompts whose logits, 128 kB a token, are held at once
GENERATE_BATCH = 8  # the better of 8 and 32
Margins = tuple[list[float], list[Prediction]]
Times = tuple[float, float]
"""Wall clock and CPU time in seconds."""


class Ours:
    """`Seq2Seq`, by the T5 decoder or by transformers' forward."""

    def __init__(self, model: Any, tokenizer: Any, options: PredictOptions, *, t5: bool) -> None:
        self.arguments, self.options, self.t5 = (model, tokenizer, QA), options, t5

    def predictions(self, examples: Sequence[Example]) -> list[Prediction]:
        """As `Family.predict`."""
        with patch.object(t5, "applies_to", lambda _: self.t5):
            return Seq2Seq().predict(*self.arguments, examples, self.options)

    def margins(self, examples: Sequence[Example]) -> Margins:
        """As `Family.abstention_margins`."""
        with patch.object(t5, "applies_to", lambda _: self.t5):
            return Seq2Seq().abstention_margins(*self.arguments, examples, self.options)


class CTranslate2:
    """The same by `translate_batch`."""

    def __init__(self, directory: Path, tokenizer: Any, options: PredictOptions) -> None:
        self.loaded = ctranslate2.load(directory, len(os.sched_getaffinity(0)))
        self.tokenizer, self.options = tokenizer, options
        self.null_id = Seq2Seq().abstention_id(tokenizer, QA)
        self.null = tokenizer.convert_ids_to_tokens([self.null_id])

    def predictions(self, examples: Sequence[Example]) -> list[Prediction]:
        """Decoded in one call."""
        prompts, of_example = self._encode(examples)
        outputs: list[list[Prediction]] = [[] for _ in examples]
        for number, result in zip(of_example, self._decode(prompts), strict=True):
            outputs[number].append(self._output(result))
        return [QA.resolve(parts) for parts in outputs]

    def margins(self, examples: Sequence[Example]) -> Margins:
        """The logits of a first pass, which give margins only if no token is suppressed.

        Its answers are those without abstention, too, where abstention was not among its tokens;
        only the rest is decoded again.
        """
        import numpy as np

        prompts, of_example = self._encode(examples)
        margins, predictions = [float("inf")] * len(examples), [Prediction("")] * len(examples)
        for start in range(0, len(prompts), CHUNK):
            chunk = prompts[start : start + CHUNK]
            results = self._decode(chunk, return_logits_vocab=True)
            logits = np.stack([np.array(result.logits[0][0]) for result in results])
            abstaining = logits[:, self.null_id].copy()
            logits[:, self.null_id] = -np.inf
            again = [n for n, result in enumerate(results) if self.null[0] in result.hypotheses[0]]
            suppressed = self._decode([chunk[n] for n in again], suppress_sequences=[self.null])
            for number, result in zip(again, suppressed, strict=True):
                results[number] = result
            for number, margin in enumerate(abstaining - logits.max(-1)):
                example = of_example[start + number]
                if margin < margins[example]:
                    margins[example] = float(margin)
                    predictions[example] = QA.resolve([self._output(results[number])])
        return margins, predictions

    def _encode(self, examples: Sequence[Example]) -> tuple[list[list[str]], list[int]]:
        lengths = self.options.max_source_tokens, self.options.window_overlap_tokens
        encoded = tokenization.encode_prompts(QA, examples, self.tokenizer, *lengths)
        return (
            [self.tokenizer.convert_ids_to_tokens(prompt.ids) for row in encoded for prompt in row],
            [number for number, row in enumerate(encoded) for _ in row],
        )

    def _decode(self, prompts: list[list[str]], **options: Any) -> list[Any]:
        results: list[Any] = self.loaded.translator.translate_batch(
            prompts, batch_type="tokens", max_batch_size=2048, beam_size=1, length_penalty=0,
            max_input_length=0, max_decoding_length=self.options.max_new_tokens,
            min_decoding_length=0, return_scores=True, **options,
        )  # fmt: skip
        return results

    def _output(self, result: Any) -> Prediction:
        pieces = [piece for piece in result.hypotheses[0] if piece != "<unk>"]
        text = self.loaded.pieces.decode(pieces).strip()
        return Prediction(text, math.exp(result.scores[0]))


class Generate:
    """transformers' `generate`, in the order of the file."""

    def __init__(self, model: Any, tokenizer: Any, options: PredictOptions) -> None:
        self.model, self.tokenizer, self.options = model, tokenizer, options

    def predictions(self, examples: Sequence[Example]) -> list[Prediction]:
        """Without confidences."""
        import torch

        sources = [QA.prompts(example)[0].source for example in examples]
        texts: list[str] = []
        for start in range(0, len(sources), GENERATE_BATCH):
            batch = self.tokenizer(
                sources[start : start + GENERATE_BATCH], return_tensors="pt", padding=True
            )
            with torch.inference_mode():
                tokens = self.model.generate(
                    **batch, max_new_tokens=self.options.max_new_tokens, num_beams=1
                )
            texts += decoding.texts_of(self.tokenizer, tokens)
        return [QA.resolve([Prediction(text)]) for text in texts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="beside ours")
    args = parser.parse_args()
    examples = read(args.file)[: args.questions]
    options = PredictOptions(precision=args.precision)
    model, tokenizer = Seq2Seq().load(args.model, QA)
    with tempfile.TemporaryDirectory() as scratch:
        converted = convert(model, tokenizer, Path(scratch), args.rounds)
        evaluators: dict[str, Any] = {
            "ours": Ours(model, tokenizer, options, t5=True),
            "ctranslate2": CTranslate2(converted, tokenizer, options),
            "generic": Ours(model, tokenizer, options, t5=False),
            "generate": Generate(model, tokenizer, options),
        }
        only = {"ours", *(args.only or evaluators)}
        evaluators = {name: evaluators[name] for name in evaluators if name in only}
        for job in ("predictions", "margins"):
            jobs = {
                name: getattr(evaluator, job)
                for name, evaluator in evaluators.items()
                if hasattr(evaluator, job)
            }
            results, times = measure(job, jobs, examples, args.rounds)
            compare(job, results, times, len(examples))


def convert(model: Any, tokenizer: Any, scratch: Path, rounds: int) -> Path:
    """Convert weights in memory several times over, and print the times."""
    from qa_assets.models import base_model

    steps: dict[str, list[float]] = {"saving": [], "conversion": [], "loading": []}
    for number in range(rounds):
        source, out = scratch / f"model-{number}", scratch / f"ctranslate2-{number}"
        with timed(steps["saving"]):
            base_model.save(model, tokenizer, source)
        with timed(steps["conversion"]):
            ctranslate2.convert(source, out, token_bias={}, quantization="float32")
        with timed(steps["loading"]):
            ctranslate2.load(out)
    print(
        "conversion to CTranslate2 from memory, median s: "
        + ", ".join(f"{name} {statistics.median(times):.1f}" for name, times in steps.items()),
        flush=True,
    )
    return out


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Append the time that the block takes."""
    started = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - started)


def measure(
    job: str, jobs: dict[str, Callable[[Sequence[Example]], Any]], examples: Sequence[Example],
    rounds: int,
) -> tuple[dict[str, Any], dict[str, list[Times]]]:  # fmt: skip
    """Each evaluator's result, and its time in every round."""
    results, times = {}, {name: [] for name in jobs}  # type: dict[str, Any], dict[str, list[Times]]
    for evaluate in jobs.values():
        evaluate(examples[:WARM_UP])
    for number in range(rounds):
        for name in list(jobs) if number % 2 else reversed(jobs):
            wall, cpu = time.perf_counter(), time.process_time()
            results[name] = jobs[name](examples)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        row = ", ".join(
            f"{name} {times[name][-1][0]:.1f} ({times[name][-1][1]:.1f})" for name in jobs
        )
        print(f"{job}, round {number + 1}, s (CPU s): {row}", flush=True)
    return results, times


def compare(job: str, results: dict[str, Any], times: dict[str, list[Times]], count: int) -> None:
    """Print how many times as long as ours each took, paired by round, and the equal answers."""
    print(f"\n| {job} | questions/s | time over ours | CPU time over ours | the same answers |")
    print("|---|---|---|---|---|")
    for name, measured in times.items():
        cells = []
        for place in (0, 1):
            ratios = [
                other[place] / ours[place]
                for other, ours in zip(measured, times["ours"], strict=True)
            ]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
        speed = count / statistics.median(wall for wall, _ in measured)
        same = sum(
            first.text == second.text
            for first, second in zip(
                _predictions(results[name]), _predictions(results["ours"]), strict=True
            )
        )
        print(f"| {name} | {speed:.1f} | {' | '.join(cells)} | {same} of {count} |")
    if job == "margins" and "ctranslate2" in results:
        pairs = zip(results["ours"][0], results["ctranslate2"][0], strict=True)
        print(f"largest difference of a margin: {max(abs(a - b) for a, b in pairs):.5f}")
    print(flush=True)


def _predictions(result: Any) -> list[Prediction]:
    predictions: list[Prediction] = result[1] if isinstance(result, tuple) else result
    return predictions


if __name__ == "__main__":
    main()

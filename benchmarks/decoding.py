"""Evaluating a split by `Seq2Seq` and by transformers' `generate`: time, and equal answers.

    python benchmarks/decoding.py MODEL FILE [--questions 300] [--rounds 5]

MODEL is the Hugging Face directory of a T5, FILE a SQuAD file. `seq2seq` evaluates as a training
does: on a CPU by CTranslate2, saving and converting the weights included. `generate` is
transformers' own loop in batches of 8, the better of 8 and 32, as run_seq2seq_qa.py evaluates. Both
read the same prompts, tokenising included, and take turns in alternating order.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from models import QA, read

from qa_assets.core.examples import Example, Prediction
from qa_assets.models import decoding
from qa_assets.models.loading import load
from qa_assets.models.task_model import PredictOptions

WARM_UP = 16
GENERATE_BATCH = 8
Evaluate = Callable[[Sequence[Example]], list[Prediction]]


def generate(
    model: Any, tokenizer: Any, options: PredictOptions, examples: Sequence[Example]
) -> list[Prediction]:
    """By transformers' `generate`, in the order of the file; without confidences."""
    import torch

    sources = [QA.prompts(example)[0].source for example in examples]
    texts: list[str] = []
    for start in range(0, len(sources), GENERATE_BATCH):
        batch = tokenizer(
            sources[start : start + GENERATE_BATCH], return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            tokens = model.generate(**batch, max_new_tokens=options.max_new_tokens, num_beams=1)
        texts += decoding.texts_of(tokenizer, tokens)
    return [QA.resolve([Prediction(text)]) for text in texts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    examples, options = read(args.file)[: args.questions], PredictOptions(precision="fp32")
    model = load(args.model, QA)
    evaluators: dict[str, Evaluate] = {
        "seq2seq": lambda rows: model.predict(rows, options),
        "generate": partial(generate, model.model, model.tokenizer, options),
    }
    seconds: dict[str, list[float]] = {name: [] for name in evaluators}
    texts: dict[str, list[str]] = {}
    for evaluate in evaluators.values():
        evaluate(examples[:WARM_UP])
    for number in range(args.rounds):
        for name in list(evaluators) if number % 2 else reversed(evaluators):
            start = time.perf_counter()
            texts[name] = [prediction.text for prediction in evaluators[name](examples)]
            seconds[name].append(time.perf_counter() - start)
        row = ", ".join(f"{name} {times[-1]:.1f}" for name, times in seconds.items())
        print(f"round {number + 1}, s: {row}", flush=True)
    ratios = [slow / fast for fast, slow in zip(*seconds.values(), strict=True)]
    same = sum(a == b for a, b in zip(*texts.values(), strict=True))
    for name, times in seconds.items():
        print(f"{name}: {len(examples) / statistics.median(times):.1f} questions/s")
    print(
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"{same} of {len(examples)} answers the same"
    )


if __name__ == "__main__":
    main()

"""Questions a second of decoding for evaluation, against transformers' own `generate`.

    python benchmarks/decoding.py MODEL ROWS [--questions 1000] [--peer-questions 256] [--full ALL]

MODEL is a Hugging Face directory, ROWS the Parquet of a test split. transformers decodes as an
evaluation by run_seq2seq_qa.py does: batches in the order of the file, padded to their longest,
with a cache. Ours are sorted by length and computed by `inference_t5`, in fp32 and in bf16. How
many answers bf16 changes, and what that does to F1, comes with it; the ratios come last. ALL, the
Parquet of a whole split, is answered in bf16 and scored before them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

_NULL_TEXT = "unavailable"
_SIZES = (8, 32)


def main() -> None:
    """Measure and print."""
    from qa_assets.evaluation.comparison import read_split
    from qa_assets.models import base_model, decoding
    from qa_assets.tasks.question_answering import metric
    from qa_assets.training.config import TrainingConfig

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--peer-questions", type=int, default=256)
    parser.add_argument("--full", type=Path)
    given = parser.parse_args()
    columns = ["source", "references"]
    rows = read_split(given.rows, columns)[: given.questions]
    sources = [row["source"] for row in rows]
    model, tokenizer = base_model.load(given.model)
    model.eval()
    longest = TrainingConfig().max_target_tokens

    def theirs(size: int, asked: Sequence[str]) -> list[str]:
        import torch

        said: list[str] = []
        for start in range(0, len(asked), size):
            batch = tokenizer(
                list(asked[start : start + size]), return_tensors="pt", padding=True, verbose=False
            )
            with torch.inference_mode():
                tokens = model.generate(**batch, max_new_tokens=longest, num_beams=1)
            said += tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return decoding.to_answers(said, _NULL_TEXT)

    def ours(precision: str, asked: Sequence[str]) -> list[str]:
        how = TrainingConfig(precision=precision).answering
        return decoding.answer(model, tokenizer, asked, _NULL_TEXT, **how)[0]

    ours("auto", sources[:64])
    part = sources[: given.peer_questions]
    peers = {
        size: rate(f"transformers, batches of {size}", partial(theirs, size), part)
        for size in _SIZES
    }
    peer, reference = max(peers.values(), key=lambda one: one[0])
    found = {
        precision: rate(f"ours, {precision}", partial(ours, precision), sources)
        for precision in ("fp32", "bf16")
    }
    same = sum(a == b for a, b in zip(reference, found["fp32"][1], strict=False))
    print(f"fp32: {same} of {len(part)} answers are those of transformers")
    for precision, (_, said) in found.items():
        differing = sum(a != b for a, b in zip(said, found["fp32"][1], strict=True))
        scores = metric.score(said, [row["references"] for row in rows])
        print(
            f"{precision}: EM {scores['exact']:.2f}, F1 {scores['f1']:.2f}, {differing} of "
            f"{len(said)} answers other than in fp32"
        )
    if given.full:
        rows = read_split(given.full, columns)
        _, said = rate("all, bf16", partial(ours, "bf16"), [row["source"] for row in rows])
        scores = metric.score(said, [row["references"] for row in rows])
        print(f"all, bf16: EM {scores['exact']:.2f}, F1 {scores['f1']:.2f}")
    for precision, (speed, _) in found.items():
        print(f"{precision} over transformers: {speed / peer:.2f}")


def rate(
    name: str, answer: Callable[[Sequence[str]], list[str]], asked: Sequence[str]
) -> tuple[float, list[str]]:
    """Questions a second, and the answers."""
    started, cpu = time.perf_counter(), time.process_time()
    said = answer(asked)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"{name}: {len(asked)} questions in {wall:.1f} s, {cpu:.1f} s of CPU: "
        f"{len(asked) / wall:.1f} a second",
        flush=True,
    )
    return len(asked) / wall, said


if __name__ == "__main__":
    main()

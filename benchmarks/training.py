"""Training examples a second: our loop against transformers' Seq2SeqTrainer, on one machine.

    python benchmarks/training.py --base DIR --rows train_split/latest/rows [--rounds 5]

The trainer is set up as run_seq2seq_qa.py does it, at its best of several batch sizes:
group_by_length, padding to the longest, fused AdamW, bf16 where this processor has it, as ours.
Both take the same rows, length limits, dropout, optimiser and clipping, and about as many examples
an optimiser step; neither evaluates or saves. They take turns, so that what else the machine does
falls on both. The first step of each turn is not counted. The environment is that of `make run`.

Beside the ratio: what the processor reaches in products of matrices 2,048 wide, measured again in
each round, and the model's FLOP/s as a share of that. They are the products of forward and backward
for real tokens, by formula. Last comes the time from Parquet to the first step taken, tokenised and
with cached token ids.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from qa_assets.core.examples import read_examples
from qa_assets.models import base_model
from qa_assets.models.loading import load
from qa_assets.tasks.question_answering import TASK
from qa_assets.training import dataset
from qa_assets.training.config import TrainingConfig
from qa_assets.training.cpu import THREADS
from qa_assets.training.step import Meter, Processes
from qa_assets.training.trainer import Trainer, TrainingInputs, train

WIDTH = 2048  # of the products that show a processor's limit
Mark = tuple[int, float, float]
"""The examples of a step, and wall clock and CPU time at its end."""


def mark(examples: int) -> Mark:
    """The end of a step, now."""
    return examples, time.perf_counter(), time.process_time()


def rate(name: str, marks: list[Mark]) -> tuple[float, float]:
    """Examples a second and by CPU second of all cores, over all steps but the first."""
    examples = sum(count for count, _, _ in marks[1:])
    wall, cpu = (marks[-1][place] - marks[0][place] for place in (1, 2))
    rates = examples / wall, examples / cpu * len(os.sched_getaffinity(0))
    print(f"{name}: {examples} examples in {wall:.1f} s, {cpu:.1f} s of CPU: "
          f"{rates[0]:.2f} examples/s, {rates[1]:.2f} by CPU time", flush=True)  # fmt: skip
    return rates


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def product_limit(dtype: Any, device: Any, seconds: float = 1.0) -> float:
    """FLOP/s of matrix products, the median over so many seconds."""
    import torch

    left, right = (torch.randn(WIDTH, WIDTH, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        (left @ right)[0, 0].item()  # waits for a GPU, too
        times.append(time.perf_counter() - started)
    return 2.0 * WIDTH**3 / statistics.median(times[1:])


def model_flops(config: Any, source: float, target: float, squares: float) -> float:
    """FLOP of the products of an example, forward and backward, each of which has two more.

    Args:
        config: of a T5.
        source: mean tokens of a source.
        target: mean tokens of a target.
        squares: mean of the squared tokens of a source.
    """
    width, inner = config.d_model, config.num_heads * config.d_kv
    attention, feed_forward = 4 * width * inner, (2 + config.is_gated_act) * width * config.d_ff
    layers, above = config.num_layers, config.num_decoder_layers
    # weights by the tokens that they multiply; keys and values of cross-attention read the source
    weights = source * (layers * (attention + feed_forward) + above * 2 * width * inner)
    weights += target * (above * (1.5 * attention + feed_forward) + width * config.vocab_size)
    scores = 2 * inner * (layers * squares + above * (target * source + target**2))
    return float(6 * (weights + scores))


class Ours:
    """The steps of `qa_assets.training`."""

    def __init__(self, inputs: TrainingInputs, limit: int, home: Path, examples: int) -> None:
        config = TrainingConfig(epochs=100, eval_examples=1)
        self.trainer = Trainer(config, inputs, home / "ours", Processes(), None, None)
        self.trainer.load(limit, None)
        data = self.trainer.data
        tokens = round(float(data.sources.lengths.mean()) * examples)
        self.trainer.config = config = config.model_copy(update={"batch_tokens": tokens})
        self.trainer.set_up()
        self.meter = Meter(1)
        # a round goes on where the last ended
        self.left = enumerate(data.steps_from(0, config))
        parts = [part for step in data.epoch(0, config) for part in step]
        lengths = [data.sources.lengths, data.targets.lengths]
        places = sum(len(part) * each[part].max() for each in lengths for part in parts)
        self.padding = 1 - sum(each.sum() for each in lengths) / places
        source, target = (each.astype(float) for each in lengths)
        self.flops = model_flops(
            self.trainer.model.config, source.mean(), target.mean(), (source**2).mean()
        )
        self.tokens = float(source.mean() + target.mean())
        self.dtype = base_model.dtype(self.trainer.model, config.precision)

    def steps(self, count: int) -> list[Mark]:
        """Take a step more than `count`."""
        marks = []
        for number, step in self.left:
            self.trainer.step(step, number, self.trainer.learning_rate(number), self.meter)
            marks.append(mark(sum(map(len, step))))
            if len(marks) > count:
                break
        return marks


class Theirs:
    """transformers' Seq2SeqTrainer."""

    def __init__(
        self, inputs: TrainingInputs, limit: int, home: Path, examples: int, bf16: bool
    ) -> None:
        config = TrainingConfig()
        self.examples, self.bf16 = examples, bf16
        start = load(inputs.base, inputs.task)
        self.model, self.tokenizer = start.model, start.tokenizer
        rows = read_examples(inputs.train_rows, limit, config.seed)
        # the same token ids: what is measured is training, not tokenising
        data = dataset.encode(rows, inputs.task, self.tokenizer, config)
        self.rows = [
            {"input_ids": _ids(data.sources, number), "labels": _ids(data.targets, number)}
            for number in range(len(data.sources.lengths))
        ]
        self.home, self.seed = home / "trainer", 0
        self.tokens = self.places = 0

    @property
    def padding(self) -> float:
        """Share of what was computed."""
        return 1 - self.tokens / self.places

    def steps(self, batch_size: int, count: int) -> list[Mark]:
        """Take a step more than `count`."""
        import torch
        from transformers import (
            DataCollatorForSeq2Seq,
            Seq2SeqTrainer,
            Seq2SeqTrainingArguments,
            TrainerCallback,
        )

        self.seed += 1
        pad = DataCollatorForSeq2Seq(self.tokenizer, model=self.model, label_pad_token_id=-100)

        def collate(rows: list[dict[str, Any]]) -> Any:
            batch = pad([dict(row) for row in rows])
            labels = batch["labels"]
            self.tokens += int(batch["attention_mask"].sum() + (labels >= 0).sum())
            self.places += batch["attention_mask"].numel() + labels.numel()
            return batch

        trainer = Seq2SeqTrainer(
            model=self.model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(self.home),
                per_device_train_batch_size=batch_size,
                gradient_accumulation_steps=max(1, self.examples // batch_size),
                max_steps=count + 1,
                learning_rate=3e-4,
                bf16=self.bf16,
                use_cpu=not torch.cuda.is_available(),
                group_by_length=True,
                optim="adamw_torch_fused",
                seed=self.seed,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=self.rows,
            data_collator=collate,
        )
        marks: list[Mark] = []
        examples = max(batch_size, self.examples)

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                marks.append(mark(examples))

        trainer.add_callback(Clock())
        trainer.train()
        return marks


def _ids(sequences: dataset.Sequences, number: int) -> list[int]:
    start, end = sequences.offsets[number : number + 2]
    ids: list[int] = sequences.values[start:end].tolist()
    return ids


def first_step(inputs: TrainingInputs, home: Path) -> None:
    """Print the seconds from Parquet to the first step, tokenised anew and from the cache."""
    config = TrainingConfig(eval_examples=1, evaluations=1)
    for name in ("all rows, tokenised", "all rows, from the cache"):
        started = time.perf_counter()
        asked: list[float] = []

        def stop(started: float = started, asked: list[float] = asked) -> bool:
            asked.append(time.perf_counter() - started)
            return True

        train(config, inputs, home / name, cache=home / "features", stop=stop)
        print(f"first step after {asked[0]:.1f} s: {name}", flush=True)


def main() -> None:
    """Measure and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--rows", type=Path, required=True, help="Parquet of a split")
    parser.add_argument("--examples", type=int, default=10_000, help="drawn from the rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="counted in a round, of each")
    parser.add_argument("--step-examples", type=int, default=64, help="of an optimiser step")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--first-step", action="store_true", help="also from Parquet to a step")
    args = parser.parse_args()
    inputs = TrainingInputs(TASK(), args.base, args.rows, args.rows)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        ours = Ours(inputs, args.examples, home, args.step_examples)
        bf16 = ours.dtype == torch.bfloat16
        theirs = Theirs(inputs, args.examples, home, args.step_examples, bf16)
        print(f"{processor()}, {torch.get_num_threads()} threads, {ours.dtype}")
        best = args.batch_sizes[0]
        if len(args.batch_sizes) > 1:
            speeds = {
                size: rate(f"trainer, batches of {size}", theirs.steps(size, 2))[0]
                for size in args.batch_sizes
            }
            best = max(speeds, key=speeds.__getitem__)
        print(f"the trainer has batches of {best}\n")
        limits: dict[Any, list[float]] = {torch.bfloat16: [], torch.float32: []}
        rounds = []
        for number in range(1, args.rounds + 1):
            for dtype, measured in limits.items():
                measured.append(product_limit(dtype, ours.trainer.model.device))
            rounds.append(
                (
                    rate(f"round {number} ours", ours.steps(args.steps)),
                    rate(f"round {number} trainer", theirs.steps(best, args.steps)),
                )
            )
        print(f"\nours: {ours.padding:.1%} padding; trainer: {theirs.padding:.1%}")
        if args.first_step:
            first_step(inputs, home)
    for dtype, measured in limits.items():
        print(f"{dtype}: {spread([limit / 1e9 for limit in measured])} GFLOP/s")
    summarise(rounds, ours, limits[ours.dtype])


def summarise(rounds: list[Any], ours: Ours, limits: list[float]) -> None:
    """Print medians and ranges over the rounds."""
    print(f"a question: {ours.tokens:.0f} tokens, {ours.flops / 1e9:.1f} GFLOP")
    for side, name in enumerate(("ours", "trainer")):
        speeds = [rates[side][0] for rates in rounds]
        shares = [100 * speed * ours.flops / limit
                  for speed, limit in zip(speeds, limits, strict=True)]  # fmt: skip
        print(f"{name}: {spread(speeds)} examples/s, "
              f"{spread([speed * ours.tokens for speed in speeds])} tokens/s, "
              f"{spread([speed * ours.flops / 1e9 for speed in speeds])} GFLOP/s, "
              f"{spread(shares)} % of the limit")  # fmt: skip
    for place, name in enumerate(("wall clock", "CPU time")):
        print(f"{name}: ratio {spread([mine[place] / other[place] for mine, other in rounds])}")


def spread(values: list[float]) -> str:
    """The median, and the range if there are several."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


if __name__ == "__main__":
    environment = {**THREADS, "TOKENIZERS_PARALLELISM": "false"}
    if any(os.environ.get(name) != value for name, value in environment.items()):
        # OpenMP reads it when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment)  # noqa: S606
    main()

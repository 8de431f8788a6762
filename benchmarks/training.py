"""Training examples a second: our loop against transformers' Seq2SeqTrainer, on one machine.

    python benchmarks/training.py --base DIR --rows train_split/latest/rows [--rounds 3]

The trainer is set up as run_seq2seq_qa.py does it, at its best of several batch sizes: bf16,
group_by_length, padding to the longest, fused AdamW. Both take the same rows, length limits,
dropout, optimiser and clipping, and about 64 examples an optimiser step; neither evaluates or
saves. They take turns, so that what else the machine does falls on both. The first step of each
turn is not counted. Last comes the time from Parquet to the first step taken, tokenised and with
cached token ids, and the ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from qa_assets.core.examples import read_examples
from qa_assets.models.loading import load
from qa_assets.tasks.question_answering import TASK
from qa_assets.training import dataset
from qa_assets.training.config import TrainingConfig
from qa_assets.training.step import Meter, Processes
from qa_assets.training.trainer import Trainer, TrainingInputs, train

STEP_EXAMPLES = 64
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


class Ours:
    """The steps of `qa_assets.training`."""

    def __init__(self, inputs: TrainingInputs, limit: int, home: Path) -> None:
        config = TrainingConfig(epochs=100, eval_examples=1)
        self.trainer = Trainer(config, inputs, home / "ours", Processes(), None, None)
        self.trainer.load(limit, None)
        data = self.trainer.data
        tokens = round(float(data.sources.lengths.mean()) * STEP_EXAMPLES)
        self.trainer.config = config = config.model_copy(update={"batch_tokens": tokens})
        self.trainer.set_up()
        self.meter = Meter(1)
        # a round goes on where the last ended
        self.left = enumerate(data.steps_from(0, config))
        parts = [part for step in data.epoch(0, config) for part in step]
        lengths = [data.sources.lengths, data.targets.lengths]
        places = sum(len(part) * each[part].max() for each in lengths for part in parts)
        self.padding = 1 - sum(each.sum() for each in lengths) / places

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

    def __init__(self, inputs: TrainingInputs, limit: int, home: Path) -> None:
        config = TrainingConfig()
        start = load(inputs.base, inputs.task)
        self.model, self.tokenizer = start.model, start.tokenizer
        examples = read_examples(inputs.train_rows, limit, config.seed)
        # the same token ids: what is measured is training, not tokenising
        data = dataset.encode(examples, inputs.task, self.tokenizer, config)
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
                gradient_accumulation_steps=STEP_EXAMPLES // batch_size,
                max_steps=count + 1,
                learning_rate=3e-4,
                bf16=True,
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

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                marks.append(mark(STEP_EXAMPLES))

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--rows", type=Path, required=True, help="Parquet of a split")
    parser.add_argument("--examples", type=int, default=10_000, help="drawn from the rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="counted in a round, of each")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    inputs = TrainingInputs(TASK(), args.base, args.rows, args.rows)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        ours, theirs = Ours(inputs, args.examples, home), Theirs(inputs, args.examples, home)
        speeds = {
            size: rate(f"trainer, batches of {size}", theirs.steps(size, 2))[0]
            for size in args.batch_sizes
        }
        best = max(speeds, key=speeds.__getitem__)
        print(f"the trainer's best batch size is {best}\n")
        rounds = [
            (
                rate(f"round {number} ours", ours.steps(args.steps)),
                rate(f"round {number} trainer", theirs.steps(best, args.steps)),
            )
            for number in range(1, args.rounds + 1)
        ]
        print(f"\nours: {ours.padding:.1%} padding; trainer: {theirs.padding:.1%}")
        first_step(inputs, home)
    for place, name in enumerate(("wall clock", "CPU time")):
        our_rate, their_rate = (statistics.median(rates[place] for rates in side)
                                for side in zip(*rounds, strict=True))  # fmt: skip
        print(f"{name}: ours {our_rate:.2f}, trainer {their_rate:.2f} examples/s, "
              f"ratio {our_rate / their_rate:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()

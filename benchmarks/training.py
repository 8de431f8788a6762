"""Training questions a second: our loop against transformers' Seq2SeqTrainer, on one machine.

    python benchmarks/training.py --base DIR --rows train.parquet [--rounds 3]

The trainer is set up as run_seq2seq_qa.py does it, at its best of several batch sizes: bf16,
group_by_length, padding to the longest, fused AdamW. Both take the same rows, length limits,
dropout, optimiser and clipping, and about 64 questions an optimiser step; neither evaluates or
saves. They take turns, so that what else the machine does falls on both. The first step of each
turn is not counted. Last comes the time from Parquet to the first step taken, token ids being
cached, and the ratio.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

_STEP_QUESTIONS = 64
_NULL_TEXT = "unavailable"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=10_000, help="drawn from the rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="counted in a round, of each")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as home:
        ours = Ours(given, Path(home))
        theirs = Theirs(given, Path(home))
        speeds = {}
        for size in given.batch_sizes:
            speeds[size] = rate(f"trainer, batches of {size}", theirs.steps(size, 2))
        best = max(speeds, key=lambda size: speeds[size][0])
        print(f"the trainer's best batch size is {best}\n")
        rates: dict[str, list[tuple[float, float]]] = {"ours": [], "trainer": []}
        for number in range(1, given.rounds + 1):
            rates["ours"].append(rate(f"round {number} ours", ours.steps(given.steps)))
            rates["trainer"].append(
                rate(f"round {number} trainer", theirs.steps(best, given.steps))
            )
        print(f"\nours: {ours.padding:.1%} padding; trainer: {theirs.padding:.1%}")
        first_step(given, Path(home))
    for place, name in enumerate(("wall clock", "CPU time")):
        median = {who: sorted(one[place] for one in found)[len(found) // 2]
                  for who, found in rates.items()}  # fmt: skip
        print(f"{name}: ours {median['ours']:.2f}, trainer {median['trainer']:.2f} questions/s, "
              f"ratio {median['ours'] / median['trainer']:.2f}")  # fmt: skip


Mark = tuple[int, float, float]
"""The questions of a step, and wall clock and CPU time at its end."""


def mark(questions: int) -> Mark:
    """The end of a step, now."""
    return questions, time.perf_counter(), time.process_time()


def rate(name: str, marks: list[Mark]) -> tuple[float, float]:
    """Questions a second and by CPU second of all cores, over all steps but the first."""
    questions = sum(count for count, _, _ in marks[1:])
    wall, cpu = (marks[-1][place] - marks[0][place] for place in (1, 2))
    result = questions / wall, questions / cpu * len(os.sched_getaffinity(0))
    print(f"{name}: {questions} questions in {wall:.1f} s, {cpu:.1f} s of CPU: "
          f"{result[0]:.2f} questions/s, {result[1]:.2f} by CPU time", flush=True)  # fmt: skip
    return result


class Ours:
    """The loop of `qa_assets.training`."""

    def __init__(self, given: argparse.Namespace, home: Path) -> None:
        from qa_assets.models import base_model
        from qa_assets.training import adapters, dataset
        from qa_assets.training.config import TrainingConfig
        from qa_assets.training.steps import Stepper

        model, tokenizer = base_model.load(given.base)
        config = TrainingConfig(epochs=100)
        self.examples, _ = dataset.load(
            given.rows, tokenizer, config, _NULL_TEXT, limit=given.questions
        )
        tokens = float(self.examples.sources.lengths.mean()) * _STEP_QUESTIONS
        config = config.model_copy(update={"batch_tokens": round(tokens)})
        trainee = adapters.prepare(model, config)
        self.stepper = Stepper(config, trainee, self.examples, tokenizer.pad_token_id)
        # one run through the steps; a round goes on where the last ended
        self.run = self.stepper.steps()
        steps = self.stepper.epoch(0)
        places = sum(
            len(part) * lengths[part].max()
            for lengths in (self.examples.sources.lengths, self.examples.targets.lengths)
            for step in steps
            for part in step
        )
        self.padding = 1 - _tokens(self.examples) / places
        self.sizes = [sum(map(len, step)) for step in steps]

    def steps(self, count: int) -> list[Mark]:
        """Take a step more than `count`."""
        marks = []
        for _ in range(count + 1):
            next(self.run)
            marks.append(mark(self.sizes[(self.stepper.position.step - 1) % len(self.sizes)]))
        return marks


def _tokens(examples: Any) -> int:
    return len(examples.sources.values) + len(examples.targets.values)


class Theirs:
    """transformers' Seq2SeqTrainer."""

    def __init__(self, given: argparse.Namespace, home: Path) -> None:
        from qa_assets.models import base_model
        from qa_assets.training import dataset
        from qa_assets.training.config import TrainingConfig

        self.model, self.tokenizer = base_model.load(given.base)
        self.home = home
        # the same token ids: what is measured is training, not tokenising
        examples, _ = dataset.load(
            given.rows, self.tokenizer, TrainingConfig(), _NULL_TEXT, limit=given.questions
        )
        self.rows = [
            {"input_ids": _slice(examples.sources, n), "labels": _slice(examples.targets, n)}
            for n in range(len(examples.sources.lengths))
        ]
        self.tokens = self.places = 0
        self.seed = 0

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

        benchmark = self
        self.seed += 1
        collate = DataCollatorForSeq2Seq(self.tokenizer, model=self.model, label_pad_token_id=-100)

        def counted(rows: list[dict[str, Any]]) -> Any:
            batch = collate([dict(row) for row in rows])
            labels = batch["labels"]
            benchmark.tokens += int(batch["attention_mask"].sum() + (labels >= 0).sum())
            benchmark.places += batch["attention_mask"].numel() + labels.numel()
            return batch

        trainer = Seq2SeqTrainer(
            model=self.model,
            args=Seq2SeqTrainingArguments(
                output_dir=str(self.home / "trainer"),
                per_device_train_batch_size=batch_size,
                gradient_accumulation_steps=_STEP_QUESTIONS // batch_size,
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
            data_collator=counted,
        )
        marks: list[Mark] = []

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                marks.append(mark(_STEP_QUESTIONS))

        trainer.add_callback(Clock())
        trainer.train()
        return marks


def first_step(given: argparse.Namespace, home: Path) -> None:
    """Print the seconds from Parquet to the first step, tokenised anew and from the cache."""
    from qa_assets.tasks.question_answering import metric
    from qa_assets.training import loop
    from qa_assets.training.config import TrainingConfig

    config = TrainingConfig(eval_questions=1, evaluations=1)
    for name in ("all rows, tokenised", "all rows, from the cache"):
        started = time.perf_counter()
        taken: list[float] = []

        def stop(started: float = started, taken: list[float] = taken) -> bool:
            taken.append(time.perf_counter() - started)
            return True

        loop.train(
            config, given.base, given.rows, given.rows, home / name, score=metric.score,
            null_text=_NULL_TEXT, cache=home / "features", stop=stop,
        )  # fmt: skip
        print(f"first step after {taken[0]:.1f} s: {name}", flush=True)


def _slice(sequences: Any, number: int) -> list[int]:
    start, end = sequences.offsets[number], sequences.offsets[number + 1]
    found: list[int] = sequences.values[start:end].tolist()
    return found


if __name__ == "__main__":
    main()

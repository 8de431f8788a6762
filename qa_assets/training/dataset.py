"""Training data: token ids in flat arrays, cached, and the order in which steps take them.

The order follows from lengths, settings and seed, whatever the machine and the number of processes:
the number of steps taken says which examples have been learnt from.
"""

import hashlib
import inspect
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from qa_assets.core import files
from qa_assets.core.examples import Example, read_examples
from qa_assets.core.task import Task
from qa_assets.models import tokenization
from qa_assets.models.loading import model_type
from qa_assets.models.tokenization import EncodedPrompt
from qa_assets.training.config import TrainingConfig

logger = logging.getLogger(__name__)
_VERSION = 2  # of the cache's format
_KEPT = 5  # files in the cache
_POOL = 100  # parts among which prompts are sorted by length
_PART_TOKENS = 4096  # of a part, padding included
_SHORT = 90  # percentile of target lengths up to which targets share a part
_IGNORED = -100  # the label that Hugging Face's and PyTorch's losses leave out

Integers = NDArray[np.int64]
Step = list[list[int]]
"""The prompts of an optimiser step by number, in the parts that are computed together."""


@dataclass(frozen=True)
class Sequences:
    """Token ids of many texts, concatenated."""

    values: NDArray[np.int32]
    offsets: Integers

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "Sequences":
        """Concatenate texts."""
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        tokens = (token for text in texts for token in text)
        return cls(np.fromiter(tokens, np.int32, int(offsets[-1])), offsets)

    @cached_property
    def lengths(self) -> Integers:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def padded(self, numbers: list[int], value: int) -> torch.Tensor:
        """Some texts as a tensor of shape [texts, longest text], `value` on the right."""
        out = np.full((len(numbers), self.lengths[numbers].max()), value, np.int64)
        for row, number in enumerate(numbers):
            start, end = self.offsets[number], self.offsets[number + 1]
            out[row, : end - start] = self.values[start:end]
        return torch.from_numpy(out)


@dataclass(frozen=True)
class Dataset:
    """Token ids of prompts, and of their targets: texts or labels.

    Attributes:
        sources: of the prompts.
        targets: of the targets.
        counts: `windowed` examples became several windows; `lost` are those of them whose
            references are in no window; `truncated` sources and `truncated_targets` were cut.
    """

    sources: Sequences
    targets: Sequences
    counts: dict[str, int]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all token ids."""
        digest = hashlib.sha256()
        for texts in (self.sources, self.targets):
            digest.update(np.ascontiguousarray(texts.values).data)
            digest.update(np.ascontiguousarray(texts.offsets).data)
        return digest.hexdigest()

    def batch(self, numbers: list[int], pad_id: int) -> dict[str, torch.Tensor]:
        """The arguments of `TaskModel.loss` for some prompts."""
        input_ids = self.sources.padded(numbers, pad_id)
        return {
            "input_ids": input_ids,
            "attention_mask": (input_ids != pad_id).long(),
            "labels": self.targets.padded(numbers, _IGNORED),
        }

    def epoch(self, number: int, config: TrainingConfig) -> list[Step]:
        """The steps of an epoch, counted from 0."""
        return epoch_steps(self.sources.lengths, self.targets.lengths, config, number)

    def steps_from(self, step: int, config: TrainingConfig) -> Iterator[Step]:
        """The steps from this number on, epoch after epoch, without end."""
        epoch = 0
        while True:
            steps = self.epoch(epoch, config)
            yield from steps[step:]
            step = max(0, step - len(steps))
            epoch += 1


def load(
    path: Path,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainingConfig,
    cache: Path | None = None,
    limit: int | None = None,
) -> Dataset:
    """The prompts of a split, tokenised, or their token ids from the directory `cache`.

    At most `limit` examples are sampled.

    Raises:
        ExamplesError: the examples cannot be read.
    """
    if cache is None or not path.exists():
        return encode(read_examples(path, limit, config.seed), task, tokenizer, config)
    lengths = {"max_source_tokens", "max_target_tokens", "window_overlap_tokens"}
    key = {
        "version": _VERSION,
        "examples": files.hash_files(path),
        "limit": [limit, config.seed] if limit else None,
        "tokenizer": tokenization.fingerprint(tokenizer),
        "task": task.spec(),
        "code": _code_of(task),
        **config.model_dump(include=lengths),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    kept = cache / f"{digest[:32]}.parquet"
    with FileLock(cache / ".lock"):  # the first of several workers or trials tokenises for all
        if kept.exists():
            logger.info("token ids from %s", kept)
            return _read(kept)
        dataset = encode(read_examples(path, limit, config.seed), task, tokenizer, config)
        _write(dataset, kept)
    return dataset


def _code_of(task: Task) -> str:
    """SHA-256 of the task's modules, which make the prompts."""
    folder = Path(inspect.getfile(type(task))).parent
    hashes = [files.hash_files(module) for module in sorted(folder.glob("*.py"))]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def encode(
    examples: Sequence[Example],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainingConfig,
) -> Dataset:
    """Tokenise examples, long ones in windows; what is too long all the same is cut at its end."""
    encoded = tokenization.encode_prompts(
        task, examples, tokenizer, config.max_source_tokens, config.window_overlap_tokens
    )
    prompts = [prompt for windows in encoded for prompt in windows]
    sources, truncated = tokenization.cut(
        [prompt.ids for prompt in prompts], config.max_source_tokens
    )
    targets, truncated_targets = model_type(task.kind).encode_targets(
        [prompt.prompt for prompt in prompts], tokenizer, task, config.max_target_tokens
    )
    counts = {
        "windowed": sum(len(windows) > 1 for windows in encoded),
        "lost": sum(_is_lost(task, *pair) for pair in zip(examples, encoded, strict=True)),
        "truncated": truncated,
        "truncated_targets": truncated_targets,
    }
    if any(counts.values()):
        logger.info(
            "%d examples, %d prompts: %s", len(examples), len(prompts),
            ", ".join(f"{value} {name}" for name, value in counts.items()),
        )  # fmt: skip
    return Dataset(Sequences.of(sources), Sequences.of(targets), counts)


def _is_lost(task: Task, example: Example, windows: Sequence[EncodedPrompt]) -> bool:
    targets = {tuple(window.prompt.targets) for window in windows}
    return len(windows) > 1 and bool(example.references) and targets == {(task.abstention,)}


def _write(dataset: Dataset, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(texts: Sequences) -> Any:
        return pa.LargeListArray.from_arrays(texts.offsets, texts.values)

    table = pa.table({"source": column(dataset.sources), "target": column(dataset.targets)})
    by_age = sorted(path.parent.glob("*.parquet"), key=lambda file: file.stat().st_mtime)
    for old in by_age[:-_KEPT]:
        old.unlink()
    with files.replacing(path) as unfinished:
        pq.write_table(
            table.replace_schema_metadata({"counts": json.dumps(dataset.counts)}),
            unfinished,
            compression="zstd",
        )


def _read(path: Path) -> Dataset:
    import pyarrow.parquet as pq

    table = pq.read_table(path).combine_chunks()

    def sequences(name: str) -> Sequences:
        array = table[name].combine_chunks()
        return Sequences(array.flatten().to_numpy(), array.offsets.to_numpy())

    counts = json.loads(table.schema.metadata[b"counts"])
    return Dataset(sequences("source"), sequences("target"), counts)


def epoch_steps(
    sources: Integers, targets: Integers, config: TrainingConfig, epoch: int
) -> list[Step]:
    """The optimiser steps of one epoch, by the lengths of prompts; every prompt occurs once.

    A part holds prompts of similar length, a step parts of all lengths. Prompts with long targets
    are few, and would pad the targets beside them: they have parts of their own, unless a part is
    all of a step. `max_batch_tokens` splits parts further, which changes neither the prompts of a
    step nor, random numbers of dropout aside, its gradients.
    """
    rng = np.random.default_rng((config.seed, epoch))
    part_tokens = min(_PART_TOKENS, config.batch_tokens)
    order = rng.permutation(len(sources))
    several = config.batch_tokens > _PART_TOKENS
    longest = np.percentile(targets, _SHORT) if several else targets.max()
    long = targets[order] > longest
    pool_size = max(1, round(_POOL * part_tokens / sources.mean()))
    parts: list[list[int]] = []
    for group in (order[~long], order[long]):
        for start in range(0, len(group), pool_size):
            pool = group[start : start + pool_size]
            pool = pool[np.argsort(-sources[pool], kind="stable")]
            parts += _parts(pool.tolist(), sources, part_tokens)
    steps: list[Step] = []
    room = 0.0
    for number in rng.permutation(len(parts)):
        tokens = float(sources[parts[number]].sum())
        if not steps or room < tokens / 2:  # nearer to the budget without it
            steps.append([])
            room = config.batch_tokens
        steps[-1] += _parts(parts[number], sources, config.max_batch_tokens)
        room -= tokens
    return steps


def _parts(numbers: list[int], lengths: Integers, max_tokens: int) -> list[list[int]]:
    """Prompts, the longest first, in parts of at most `max_tokens` with padding."""
    parts: list[list[int]] = []
    for number in numbers:
        if not parts or (len(parts[-1]) + 1) * lengths[parts[-1][0]] > max_tokens:
            parts.append([])
        parts[-1].append(number)
    return parts


def shard(step: Step, rank: int, world_size: int) -> Step:
    """What a process computes of a step: its share of the prompts of each part."""
    shards = [part[rank::world_size] for part in step]
    return [part for part in shards if part]

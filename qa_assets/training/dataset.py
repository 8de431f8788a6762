"""What is learnt from: token ids in flat arrays, cached, and the order in which they are taken.

The order depends on lengths, settings and seed only: neither on the machine nor on how many
processes train, so that a step's number says which questions have been learnt from.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qa_assets.core import files
from qa_assets.core.files import hash_files
from qa_assets.training import features
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)
_VERSION = 1  # of what is cached
_KEPT = 5  # files of the cache
_POOL = 100  # parts among which examples are sorted by length
_PART_TOKENS = 4096  # of a part, padding included
_SHORT = 90  # percentile of target lengths up to which targets share a part
_IGNORED = -100  # the label that Hugging Face's and PyTorch's losses leave out
_COUNTS = ("truncated", "windowed", "lost", "truncated_targets")

Integers = NDArray[np.int64]
Step = list[list[int]]
"""The examples of an optimiser step, by the parts in which they are computed."""


@dataclass(frozen=True)
class Sequences:
    """Token ids of many texts, one after the other."""

    values: NDArray[np.int32]
    offsets: Integers

    @cached_property
    def lengths(self) -> Integers:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def padded(self, numbers: list[int], value: int) -> "torch.Tensor":
        """Some texts as a tensor of shape [texts, longest text], `value` on the right."""
        import torch

        out = np.full((len(numbers), self.lengths[numbers].max()), value, np.int64)
        for row, number in enumerate(numbers):
            start, end = self.offsets[number], self.offsets[number + 1]
            out[row, : end - start] = self.values[start:end]
        return torch.from_numpy(out)


@dataclass(frozen=True)
class Examples:
    """Sources and targets, `counts` of what was cut by the names of `features.Features`."""

    sources: Sequences
    targets: Sequences
    counts: dict[str, int]

    def batch(self, numbers: list[int], pad_id: int) -> "dict[str, torch.Tensor]":
        """The arguments of `fast_t5.FastT5` for some examples."""
        input_ids = self.sources.padded(numbers, pad_id)
        return {
            "input_ids": input_ids,
            "attention_mask": (input_ids != pad_id).long(),
            "labels": self.targets.padded(numbers, _IGNORED),
        }


def load(
    path: Path,
    tokenizer: "PreTrainedTokenizerBase",
    config: TrainingConfig,
    null_text: str,
    cache: Path | None = None,
    limit: int | None = None,
) -> tuple[Examples, str]:
    """The examples of rows, and a hash of all that shapes them.

    Args:
        path: Parquet of rows, see `features.read_rows`.
        tokenizer: the model's.
        config: lengths in tokens, and the seed by which rows are drawn.
        null_text: the target of windows without an answer.
        cache: directory to keep token ids in, by that hash; none: tokenise every time.
        limit: rows to draw at most.

    Raises:
        RowsError: the rows cannot be read.
    """
    shape = {
        "version": _VERSION,
        "rows": hash_files(path) if path.exists() else None,
        "vocabulary": hashlib.sha256(tokenizer.sp_model.serialized_model_proto()).hexdigest(),
        "null_text": null_text,
        "limit": [limit, config.seed] if limit else None,
        **config.model_dump(
            include={"max_source_tokens", "max_target_tokens", "window_overlap_tokens"}
        ),
    }
    key = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
    if cache is None:
        return _encoded(path, tokenizer, config, null_text, limit), key
    kept = cache / f"{key[:32]}.parquet"
    with files.locked(cache / ".lock"):  # one of several workers or trials tokenises for all
        if kept.exists():
            _log.info("token ids from %s", kept)
            return _read(kept), key
        examples = _encoded(path, tokenizer, config, null_text, limit)
        _write(examples, kept)
    return examples, key


def _encoded(
    path: Path,
    tokenizer: "PreTrainedTokenizerBase",
    config: TrainingConfig,
    null_text: str,
    limit: int | None,
) -> Examples:
    encoded = features.encode(
        features.read_rows(path, limit, config.seed), tokenizer, config, null_text
    )
    counts = {name: value for name, value in asdict(encoded).items() if name in _COUNTS}
    return Examples(_flat(encoded.sources), _flat(encoded.targets), counts)


def _flat(texts: list[list[int]]) -> Sequences:
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    values = np.fromiter((token for text in texts for token in text), np.int32, int(offsets[-1]))
    return Sequences(values, offsets)


def _write(examples: Examples, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(one: Sequences) -> Any:
        return pa.LargeListArray.from_arrays(one.offsets, one.values)

    table = pa.table({"source": column(examples.sources), "target": column(examples.targets)})
    for old in sorted(path.parent.glob("*.parquet"), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
        old.unlink()
    with files.replacing(path) as unfinished:
        pq.write_table(
            table.replace_schema_metadata({"counts": json.dumps(examples.counts)}),
            unfinished,
            compression="zstd",
        )


def _read(path: Path) -> Examples:
    import pyarrow.parquet as pq

    table = pq.read_table(path).combine_chunks()

    def sequences(name: str) -> Sequences:
        array = table[name].combine_chunks()
        return Sequences(array.flatten().to_numpy(), array.offsets.to_numpy())

    counts = json.loads(table.schema.metadata[b"counts"])
    return Examples(sequences("source"), sequences("target"), counts)


def epoch_steps(
    sources: Integers, targets: Integers, config: TrainingConfig, epoch: int
) -> list[Step]:
    """The optimiser steps of one epoch; every example occurs once.

    Parts hold examples of like length, and a step parts of all lengths. The few examples with long
    targets have parts of their own, as each would pad all targets beside it, unless a part is all
    of a step. `max_batch_tokens` splits parts further: the questions of a step stay the same, and
    but for dropout's random numbers its gradients.

    Args:
        sources: tokens of each example's source.
        targets: of its target.
        config: batch sizes and seed.
        epoch: from 0.
    """
    rng = np.random.default_rng((config.seed, epoch))
    part_tokens = min(_PART_TOKENS, config.batch_tokens)
    order = rng.permutation(len(sources))
    most = np.percentile(targets, _SHORT) if config.batch_tokens > _PART_TOKENS else targets.max()
    long = targets[order] > most
    pool = max(1, round(_POOL * part_tokens / sources.mean()))
    parts: list[list[int]] = []
    for group in (order[~long], order[long]):
        for start in range(0, len(group), pool):
            among = group[start : start + pool]
            among = among[np.argsort(-sources[among], kind="stable")]
            parts += _parts(among.tolist(), sources, part_tokens)
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


def _parts(numbers: list[int], lengths: Integers, most: int) -> list[list[int]]:
    """Examples, the longest first, in parts of at most `most` tokens with padding, or of one."""
    parts: list[list[int]] = []
    for number in numbers:
        if not parts or (len(parts[-1]) + 1) * lengths[parts[-1][0]] > most:
            parts.append([])
        parts[-1].append(number)
    return parts


def share(step: Step, rank: int, world_size: int) -> Step:
    """What one of several processes computes of a step: of each part its share of the examples."""
    return [mine for part in step if (mine := part[rank::world_size])]

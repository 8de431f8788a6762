"""From text-to-text rows in Parquet to padded batches of token ids."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)
_IGNORED = -100  # the label that Hugging Face's and PyTorch's losses leave out
_POOL = 50  # batches among which questions are sorted by length, as transformers' samplers do


class RowsError(ValueError):
    """Rows that cannot be used; the message names the place."""


class Row(TypedDict):
    """One question to learn from; no references: it has no answer."""

    id: str
    source: str
    target: str
    references: list[str]


def read_rows(path: Path, limit: int | None = None, seed: int = 0) -> list[Row]:
    """Read rows of a Parquet file, or of the part files in a directory.

    Args:
        path: the file or directory.
        limit: take a random sample of so many rows at most, in their order.
        seed: of the sample.

    Raises:
        RowsError: nothing there, a column is missing, or there are no rows.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.dataset as ds

    columns = list(Row.__annotations__)
    try:
        table = ds.dataset(path, format="parquet").to_table(columns)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise RowsError(
            f"{path}: not Parquet with the columns {', '.join(columns)} ({error})"
        ) from error
    if not table.num_rows:
        raise RowsError(f"{path}: no rows")
    if limit is not None and limit < table.num_rows:
        chosen = np.random.default_rng(seed).choice(table.num_rows, limit, replace=False)
        table = table.take(sorted(chosen))
    rows: list[Row] = table.to_pylist()
    return rows


@dataclass(frozen=True)
class Features:
    """Token ids of rows, unpadded."""

    sources: list[list[int]]
    targets: list[list[int]]
    truncated: int
    """Sources that were cut."""


def encode(
    rows: Sequence[Row],
    tokenizer: "PreTrainedTokenizerBase",
    max_source_tokens: int,
    max_target_tokens: int,
) -> Features:
    """Tokenise rows; longer texts are cut at the end, before the end-of-sequence token."""
    sources, truncated = encode_sources(
        [row["source"] for row in rows], tokenizer, max_source_tokens
    )
    targets = tokenizer(
        text_target=[row["target"] for row in rows], truncation=True, max_length=max_target_tokens
    )["input_ids"]
    return Features(sources, targets, truncated)


def encode_sources(
    sources: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_source_tokens: int
) -> tuple[list[list[int]], int]:
    """Token ids of each source, cut to `max_source_tokens`, and how many were cut."""
    # one call without truncation, so that those that are cut can be counted
    ids = tokenizer(list(sources), verbose=False)["input_ids"] if sources else []
    end = tokenizer.eos_token_id
    cut = [
        one if len(one) <= max_source_tokens else [*one[: max_source_tokens - 1], end]
        for one in ids
    ]
    truncated = sum(len(one) > max_source_tokens for one in ids)
    if truncated:
        _log.warning(
            "%d of %d sources are longer than %d tokens and were cut",
            truncated, len(cut), max_source_tokens,
        )  # fmt: skip
    return cut, truncated


def batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffled batches of rows of similar length, the same for the same seed and epoch.

    Args:
        lengths: tokens of each row.
        batch_size: rows in a batch; the last of an epoch may have fewer.
        seed: of the training.
        epoch: from 0.

    Returns:
        Row numbers by batch; every row occurs once.
    """
    import numpy as np

    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths)).tolist()
    result: list[list[int]] = []
    for pool in _chunks(order, _POOL * batch_size):
        result += _chunks(sorted(pool, key=lengths.__getitem__), batch_size)
    return [result[number] for number in rng.permutation(len(result))]


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches of row numbers, the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return _chunks(order, batch_size)


def parts(numbers: list[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """A batch in parts of at most `max_tokens`, padding included, or of a single row.

    Args:
        numbers: the rows of the batch, of similar length.
        lengths: tokens of each row there is.
        max_tokens: rows of a part times its longest row.
    """
    longest = max(lengths[number] for number in numbers)
    return _chunks(numbers, max(1, max_tokens // longest))


def _chunks(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def pad(ids: Sequence[list[int]], value: int) -> "torch.Tensor":
    """Token ids as one tensor of shape [rows, longest row], `value` on the right."""
    import torch

    longest = max(map(len, ids))
    return torch.tensor([one + [value] * (longest - len(one)) for one in ids])


def collate(features: Features, numbers: Sequence[int], pad_id: int) -> "dict[str, torch.Tensor]":
    """The arguments of a model's forward call for some rows: each of shape [rows, tokens]."""
    input_ids = pad([features.sources[number] for number in numbers], pad_id)
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != pad_id).long(),
        "labels": pad([features.targets[number] for number in numbers], _IGNORED),
    }

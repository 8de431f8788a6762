"""From text-to-text rows in Parquet to token ids, long sources in windows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from qa_assets.tasks.question_answering.windows import Answer, Window, Windows
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


class RowsError(ValueError):
    """Rows that cannot be used; the message names the place."""


class Row(TypedDict):
    """One question to learn from; no answers: it has none."""

    id: str
    source: str
    target: str
    references: list[str]
    answers: list[Answer]


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
    """Token ids of what is learnt from, unpadded: a row, or one of its windows.

    Attributes:
        sources: what is read.
        targets: what is to be said.
        truncated: sources that were cut at the end: of questions too long for a window.
        windowed: rows that became several windows.
        lost: answers of those rows that no window holds whole.
        truncated_targets: targets that were cut at the end.
    """

    sources: list[list[int]]
    targets: list[list[int]]
    truncated: int = 0
    windowed: int = 0
    lost: int = 0
    truncated_targets: int = 0


@dataclass(frozen=True)
class EncodedWindow:
    """A window, and the token ids of its source."""

    ids: list[int]
    window: Window


def encode(
    rows: Sequence[Row],
    tokenizer: "PreTrainedTokenizerBase",
    config: TrainingConfig,
    null_text: str,
) -> Features:
    """Tokenise rows, those with a long context in windows.

    A window's target is the first of the answers that it holds whole, else `null_text`. What is too
    long all the same is cut at the end, before the end-of-sequence token.
    """
    encoded = encode_sources(
        [row["source"] for row in rows],
        tokenizer,
        config.max_source_tokens,
        config.window_overlap_tokens,
    )
    sources: list[list[int]] = []
    targets: list[str] = []
    lost = 0
    for row, windows in zip(rows, encoded, strict=True):
        sources += [one.ids for one in windows]
        if len(windows) == 1:
            targets.append(row["target"])
            continue
        targets += [_target(one.window, row["answers"], null_text) for one in windows]
        lost += sum(
            not any(one.window.holds(answer) for one in windows) for answer in row["answers"]
        )
    windowed = sum(len(windows) > 1 for windows in encoded)
    said = tokenizer(text_target=targets, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    read, truncated = _cut(sources, config.max_source_tokens, end)
    told, truncated_targets = _cut(said, config.max_target_tokens, end)
    if windowed or truncated or truncated_targets:
        _log.info(
            "%d of %d questions in %d windows, %d answers whole in none; cut: %d sources, %d "
            "targets",
            windowed, len(rows), len(sources) - len(rows) + windowed, lost, truncated,
            truncated_targets,
        )  # fmt: skip
    return Features(read, told, truncated, windowed, lost, truncated_targets)


def _cut(ids: Sequence[list[int]], most: int, end: int) -> tuple[list[list[int]], int]:
    """Token ids cut before their end, so that none has more than `most`; and how many were cut."""
    cut = [one if len(one) <= most else [*one[: most - 1], end] for one in ids]
    return cut, sum(len(one) > most for one in ids)


def _target(window: Window, answers: Sequence[Answer], null_text: str) -> str:
    return next((answer["text"] for answer in answers if window.holds(answer)), null_text)


def encode_sources(
    sources: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    max_source_tokens: int,
    window_overlap_tokens: int,
) -> list[list[EncodedWindow]]:
    """The windows of each source, one where it is short enough; nothing is cut off."""

    def encoded(texts: Sequence[str], special: bool = True) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, verbose=False)[
            "input_ids"
        ]
        return found

    split = Windows(
        lambda texts: [len(ids) for ids in encoded(texts, special=False)],
        max_source_tokens,
        window_overlap_tokens,
    )
    result = []
    for source, ids in zip(sources, encoded(sources), strict=True):
        if len(ids) <= max_source_tokens:
            result.append([EncodedWindow(ids, Window(source, 0, len(source)))])
            continue
        windows = split.of_source(source)
        texts = encoded([window.source for window in windows])
        result.append(list(map(EncodedWindow, texts, windows)))
    return result


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches of row numbers, the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return _chunks(order, batch_size)


def _chunks(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def pad(ids: Sequence[list[int]], value: int) -> "torch.Tensor":
    """Token ids as one tensor of shape [rows, longest row], `value` on the right."""
    import torch

    longest = max(map(len, ids))
    return torch.tensor([one + [value] * (longest - len(one)) for one in ids])

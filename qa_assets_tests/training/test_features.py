"""Rows, batches and padding."""

from pathlib import Path

import pytest

from qa_assets.training import base_model, features
from qa_assets.training.features import Row

LENGTHS = [number * 37 % 101 + 1 for number in range(205)]


def test_reads_all_part_files(data: Path, rows: list[Row]) -> None:
    assert features.read_rows(data / "train") == rows


def test_sample_is_seeded_and_in_order(data: Path, rows: list[Row]) -> None:
    sample = features.read_rows(data / "train", limit=20, seed=3)
    assert sample == features.read_rows(data / "train", limit=20, seed=3)
    assert sample != features.read_rows(data / "train", limit=20, seed=4)
    ids = [row["id"] for row in rows]
    places = [ids.index(row["id"]) for row in sample]
    assert len(places) == 20
    assert places == sorted(places)


def test_says_where_rows_are_missing(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(features.RowsError, match="nowhere"):
        features.read_rows(tmp_path / "nowhere")
    pq.write_table(pa.table({"id": ["1"], "source": ["a"]}), tmp_path / "columns.parquet")
    with pytest.raises(features.RowsError, match=r"columns\.parquet.*target"):
        features.read_rows(tmp_path / "columns.parquet")


def test_truncation_is_counted_and_keeps_the_end_token(base: Path, rows: list[Row]) -> None:
    _, tokenizer = base_model.load(base)
    whole = features.encode(rows, tokenizer, 200, 8)
    assert whole.truncated == 0
    limit = sorted(map(len, whole.sources))[len(rows) // 2]
    cut = features.encode(rows, tokenizer, limit, 8)
    assert cut.truncated == sum(len(source) > limit for source in whole.sources) > 0
    assert max(map(len, cut.sources)) == limit
    for before, after in zip(whole.sources, cut.sources, strict=True):
        assert after[-1] == tokenizer.eos_token_id
        assert after[:-1] == before[: len(after) - 1]


def test_batches_hold_every_row_once() -> None:
    batches = features.batches(LENGTHS, 16, seed=1, epoch=0)
    assert sorted(row for batch in batches for row in batch) == list(range(len(LENGTHS)))
    assert sorted(map(len, batches)) == [13] + 12 * [16]


def test_batches_are_of_similar_length_yet_in_random_order() -> None:
    batches = features.batches(LENGTHS, 16, seed=1, epoch=0)
    spreads = [
        max(LENGTHS[row] for row in batch) - min(LENGTHS[row] for row in batch) for batch in batches
    ]
    assert max(spreads) < 15
    firsts = [LENGTHS[batch[0]] for batch in batches]
    assert firsts != sorted(firsts)


def test_batches_depend_on_seed_and_epoch_only() -> None:
    first = features.batches(LENGTHS, 16, seed=1, epoch=0)
    assert first == features.batches(LENGTHS, 16, seed=1, epoch=0)
    assert first != features.batches(LENGTHS, 16, seed=1, epoch=1)
    assert first != features.batches(LENGTHS, 16, seed=2, epoch=0)


def test_parts_hold_no_more_than_a_row_or_the_limit() -> None:
    batch = features.batches(LENGTHS, 16, seed=1, epoch=0)[0]
    for limit in (1, 100, 300, 10_000):
        parts = features.parts(batch, LENGTHS, limit)
        assert [row for part in parts for row in part] == batch
        assert all(
            len(part) == 1 or len(part) * max(LENGTHS[row] for row in part) <= limit
            for part in parts
        )
    assert len(features.parts(batch, LENGTHS, 10_000)) == 1


def test_collate_pads_on_the_right() -> None:
    encoded = features.Features([[5, 6, 1], [7, 1]], [[8, 1], [9, 9, 1]], 0)
    batch = {name: t.tolist() for name, t in features.collate(encoded, [0, 1], 0).items()}
    assert batch == {
        "input_ids": [[5, 6, 1], [7, 1, 0]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "labels": [[8, 1, -100], [9, 9, 1]],
    }

"""Reading the examples of a split."""

from pathlib import Path

import pytest

from qa_assets.core.examples import Example, ExamplesError, read_examples


def test_reads_all_part_files(data: Path, examples: list[Example]) -> None:
    assert read_examples(data / "train") == examples


def test_sample_is_seeded_and_in_order(data: Path, examples: list[Example]) -> None:
    sample = read_examples(data / "train", limit=20, seed=3)
    assert sample == read_examples(data / "train", limit=20, seed=3)
    assert sample != read_examples(data / "train", limit=20, seed=4)
    ids = [example.id for example in examples]
    places = [ids.index(example.id) for example in sample]
    assert len(places) == 20
    assert places == sorted(places)


def test_says_where_examples_are_missing(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(ExamplesError, match="nowhere"):
        read_examples(tmp_path / "nowhere")
    pq.write_table(pa.table({"id": ["1"], "group": ["a"]}), tmp_path / "columns.parquet")
    with pytest.raises(ExamplesError, match=r"columns\.parquet.*references"):
        read_examples(tmp_path / "columns.parquet")

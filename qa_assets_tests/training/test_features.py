"""Rows, batches and padding."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from qa_assets.models import base_model
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.training import features
from qa_assets.training.features import Row
from qa_assets_tests.training_fixtures import CONFIG, NULL_TEXT


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


def _encode(
    rows: Sequence[Row], base: Path, most: int, overlap: int, target: int = 8
) -> features.Features:
    changes = {"max_source_tokens": most, "window_overlap_tokens": overlap}
    config = CONFIG.model_copy(update=changes | {"max_target_tokens": target})
    return features.encode(rows, base_model.load_tokenizer(base), config, NULL_TEXT)


def test_long_contexts_become_windows_and_the_answer_is_in_some(
    base: Path, rows: list[Row]
) -> None:
    tokenizer = base_model.load_tokenizer(base)
    whole = _encode(rows, base, 200, 20)
    assert (whole.windowed, whole.lost, whole.truncated) == (0, 0, 0)
    assert [source[-1] for source in whole.sources] == len(rows) * [tokenizer.eos_token_id]
    lengths = sorted(map(len, whole.sources))
    limit = lengths[len(rows) // 2]
    cut = _encode(rows, base, limit, 20)
    assert cut.windowed == sum(length > limit for length in lengths) > 0
    assert len(cut.sources) == len(cut.targets) >= len(rows) + cut.windowed
    assert max(map(len, cut.sources)) <= limit
    assert (cut.lost, cut.truncated, cut.truncated_targets) == (0, 0, 0)


def test_a_window_learns_the_answer_that_it_holds_where_it_stands(base: Path) -> None:
    tokenizer = base_model.load_tokenizer(base)
    context = "Rollo. " + "the town was old . " * 10 + "It was Rollo who led ."
    row = Row(
        id="1",
        source=source_text("Who led?", context),
        target="Rollo",
        references=["Rollo"],
        answers=[{"text": "Rollo", "answer_start": context.rindex("Rollo")}],
    )
    nothing = row | Row(id="2", source=row["source"], target=NULL_TEXT, references=[], answers=[])
    encoded = _encode([row, nothing], base, 40, 10)
    sources = tokenizer.batch_decode(encoded.sources, skip_special_tokens=True)
    targets = tokenizer.batch_decode(encoded.targets, skip_special_tokens=True)
    half = len(sources) // 2
    assert half > 2
    assert sources[:half] == sources[half:]
    assert "Rollo" in sources[0]  # but not that one
    assert "was Rollo" in sources[half - 1]
    assert targets[:half] == [
        "Rollo" if "was Rollo" in source else NULL_TEXT for source in sources[:half]
    ]
    assert set(targets[half:]) == {NULL_TEXT}


def test_what_is_lost_or_cut_is_counted(base: Path) -> None:
    context = "the town was old . " * 30
    row = Row(
        id="1",
        source=source_text("Which?", context),
        target=context[:200],
        references=[context[:200]],
        answers=[{"text": context[:200], "answer_start": 0}],
    )
    encoded = _encode([row], base, 40, 10)
    assert (encoded.windowed, encoded.lost, encoded.truncated_targets) == (1, 1, 0)
    encoded = _encode([row], base, 512, 10)
    assert (encoded.windowed, encoded.lost, encoded.truncated_targets) == (0, 0, 1)
    assert len(encoded.targets[0]) == 8
    asked = row | Row(**row | {"source": source_text("Which old town? " * 30, context)})
    encoded = _encode([asked], base, 40, 10)
    assert encoded.truncated == len(encoded.sources) > 10
    assert {len(source) for source in encoded.sources} == {40}

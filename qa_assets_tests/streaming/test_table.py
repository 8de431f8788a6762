"""The table of responses, with the fields of a task whose model gives probabilities."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.descriptions import Messages
from qa_assets.core.examples import Prediction
from qa_assets.streaming.table import ResponseTable, to_prediction

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_NUMBERS = {"type": ["object", "null"], "additionalProperties": {"type": "number"}}
LABELS = Messages(
    inputs={"text": {"type": "string"}, "hint": {"type": "string"}},
    outputs={"label": {"type": ["string", "null"]}, "scores": _NUMBERS},
    kept_inputs=("text",),
    sample={},
)


def _row(offset: int, probabilities: dict[str, float]) -> dict[str, Any]:
    label = max(probabilities, key=lambda name: probabilities[name], default=None)
    prediction = {"text": label or "", "confidence": 0.5, "probabilities": probabilities}
    return {
        "id": f"r{offset}",
        "text": "t",
        "label": label,
        "scores": probabilities,
        "prediction": prediction if label else None,
        "model_version": "v1",
        "topic": "requests",
        "partition": 0,
        "offset": offset,
        "duplicate": False,
        "asked_at": _NOW,
        "answered_at": _NOW,
        "metadata": {"a": "b"},
        "key": b"k",
        "headers": [{"key": "trace", "value": None}],
    }


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    table = ResponseTable(tmp_path, "topic", LABELS)
    assert table.read().empty
    assert "hint" not in table.read().columns
    rows = [_row(1, {"b": 0.25, "a": 0.75}), _row(0, {})]
    table.write_batch(0, rows, tmp_path / "staging")
    assert table.has_batch(0)
    assert table.read_batch(0) == rows[::-1]
    frame = table.read(["label", "prediction", "batch_id"])
    assert list(frame) == ["label", "prediction", "batch_id", "topic_id"]
    assert [to_prediction(value) for value in frame["prediction"]] == [
        Prediction("a", 0.5, {"b": 0.25, "a": 0.75}), Prediction(""),
    ]  # fmt: skip


def test_a_batch_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    table = ResponseTable(tmp_path, "topic", LABELS)
    table.write_batch(0, [_row(0, {})], tmp_path / "staging")
    with pytest.raises(OSError, match="not empty"):
        table.write_batch(0, [], tmp_path / "staging")
    assert len(table.read_batch(0)) == 1


def test_a_field_without_a_column_type_is_named(tmp_path: Path) -> None:
    messages = Messages({}, {"spans": {"type": "array"}}, (), {})
    with pytest.raises(ValueError, match="JSON type 'array'"):
        ResponseTable(tmp_path, "topic", messages).schema()

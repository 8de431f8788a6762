"""What is counted of a split."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qa_assets.data.description import count_words, describe
from qa_assets.tasks.question_answering.windows import Windows


def test_counts(tmp_path: Path) -> None:
    long = "it was old " * 50 + "and Rollo led the Norse"
    none = {"title": "Town", "context": "Rollo led.", "answers": []}
    rows = [
        none | {"question": "Who led ?"},
        none | {"question": "and how much did it cost ?"},
        {
            "title": "Rollo",
            "question": "Who led ?",
            "context": long,
            "answers": [
                {"text": "Rollo", "answer_start": long.index("Rollo")},
                {"text": "was old it was old", "answer_start": 3},
                {"text": long, "answer_start": 0},
            ],
        },
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = describe(tmp_path, count_words, Windows(count_words, 64, 16))
    assert found.titles == {"Town", "Rollo"}
    assert found.types == {"who": 2, "how many": 1}
    assert found.lengths == {
        "question": {3: 2, 7: 1},
        "context": {2: 2, 155: 1},
        "answer": {1: 1},
    }
    # 64 less the prompt, the question and the end leave 58 words, each window 42 further on
    assert (found.windowed, found.windows, found.lost) == (1, 4, 1)
    assert describe(tmp_path, count_words, None).windowed == 0

"""What is counted of a split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qa_assets.core.examples import Budget, Example
from qa_assets.data.description import count_words, describe
from qa_assets.tasks.question_answering import QuestionAnswering


def test_counts(tmp_path: Path) -> None:
    long = "it was old " * 50 + "and Rollo led the Norse"
    short = "Rollo led."
    answers: list[dict[str, Any]] = [
        {"text": "Rollo", "answer_start": long.index("Rollo")},
        {"text": "was old it was old", "answer_start": 3},
        {"text": long, "answer_start": 0},
    ]
    examples = [
        Example("1", "Town", {"question": "Who led ?", "context": short}),
        Example("2", "Town", {"question": "and how much did it cost ?", "context": short}),
        Example(
            "3",
            "Rollo",
            {"question": "Who led ?", "context": long},
            [answer["text"] for answer in answers],
            {"answers": answers},
        ),
    ]
    rows = [asdict(example) for example in examples]
    rows[0]["extra"] = rows[1]["extra"] = {"answers": []}
    rows[0]["references"] = rows[1]["references"] = []
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    task = QuestionAnswering()
    result = describe(task, tmp_path, count_words, Budget(count_words, 64, 16))
    assert result.groups == 2
    types = {value: size for name, value, size in result.slices if name == "question word"}
    assert types == {"who": 2, "how many": 1}
    assert result.lengths == {
        "question": {3: 2, 7: 1},
        "context": {2: 2, 155: 1},
        "answer": {1: 1},
    }
    # 64 less the prompt, the question and the end leave 58 words, each window 42 further on
    assert (result.windowed, result.windows, result.lost) == (1, 4, 1)
    assert describe(task, tmp_path, count_words, None).windowed == 0

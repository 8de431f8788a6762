"""Near-duplicates: none missed, none made up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from qa_assets.data.leakage import NEAR, Index, leakage, words_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TEXTS = st.lists(st.sampled_from("abcdefghi"), max_size=12).map(" ".join)


@given(st.lists(TEXTS, max_size=30), TEXTS)
def test_all_are_found_that_a_comparison_of_each_with_each_finds(
    texts: Sequence[str], text: str
) -> None:
    index = Index(texts)
    mine = set(text.split())
    expected = set()
    for number, other in enumerate(index.texts):
        theirs = set(other.split())
        if mine and len(mine & theirs) >= NEAR * len(mine | theirs):
            expected.add((number, other == text, len(mine & theirs) / len(mine | theirs)))
    assert set(index.find(words_of(text))) == expected


def test_the_same_and_the_near_are_told_apart(spark: "SparkSession") -> None:
    def frame(*rows: tuple[str, str]) -> "DataFrame":
        schema = "inputs struct<question: string, context: string>"
        return spark.createDataFrame([(row,) for row in rows], schema).repartition(2)

    long = "Immunology is strongly experimental in everyday practice but is also theory"
    train = frame(
        ("Who led the Norse?", long),
        ("When was the old town of Rouen founded?", "Rollo led."),
        ("Where was the old town of Rouen?", "???"),
    )
    test = frame(
        ("who led THE norse", long + "!"),
        ("Who led the Norse?", long.replace("theory", "it")),
        ("When was the town of Rouen founded?", "Another one."),
        ("Who was baptised?", "???"),
    )
    shared = leakage(train, test, ["question", "context"])
    questions, contexts = shared["question"], shared["context"]
    assert (questions.texts, questions.same, questions.near) == (3, 1, 1)
    assert (contexts.texts, contexts.same, contexts.near) == (4, 1, 1)
    assert [row["similarity"] for row in contexts.examples] == [9 / 11]
    assert [row["similarity"] for row in questions.examples] == [7 / 8]
    assert questions.examples[0] == {
        "similarity": 7 / 8,
        "test": "When was the town of Rouen founded?",
        "train": "When was the old town of Rouen founded?",
    }

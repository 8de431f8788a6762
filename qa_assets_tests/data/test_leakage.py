"""Near-duplicates: none missed, none made up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from qa_assets.data.leakage import NEAR, Index, overlap, words_of

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
        return spark.createDataFrame(list(rows), "question string, context string").repartition(2)

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
    found = overlap(train, test)
    assert (found.questions, found.same_questions, found.near_questions) == (3, 1, 1)
    assert (found.contexts, found.same_contexts, found.near_contexts) == (4, 1, 1)
    assert [one["similarity"] for one in found.examples] == [7 / 8, 9 / 11]
    assert found.examples[0] == {
        "similarity": 7 / 8,
        "test": "When was the town of Rouen founded?",
        "train": "When was the old town of Rouen founded?",
    }

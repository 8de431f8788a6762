"""What questions are sliced by."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_assets.core.examples import Example
from qa_assets.tasks.question_answering.slices import question_word, slices

EXAMPLES = st.lists(
    st.builds(
        Example,
        id=st.just("1"),
        group=st.sampled_from("ABC"),
        inputs=st.fixed_dictionaries(
            {
                "question": st.sampled_from(["Who?", "In what year?", "Name it", "How much?"]),
                "context": st.integers(0, 9).map(lambda n: "word " * n),
            }
        ),
        references=st.lists(st.sampled_from(["", "one", "the two", "a b c d"]), max_size=2),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What's that?", "what"),
        ("In which year and who?", "which"),
        ("How  many are there?", "how many"),
        ("how much", "how many"),
        ("To whom was it given?", "who"),
        ("Whatever", "other"),
        ("", "other"),
    ],
)
def test_question_word(question: str, word: str) -> None:
    assert question_word(question) == word


@given(EXAMPLES)
def test_every_example_is_in_one_part_of_each_slice(examples: list[Example]) -> None:
    found: dict[str, list[int]] = defaultdict(list)
    for name, _, numbers in slices(examples, {"two"}):
        assert numbers
        found[name] += numbers
    answerable = [number for number, row in enumerate(examples) if row.references]
    for name in ("answerable", "question word", "context length", "article"):
        assert sorted(found[name]) == list(range(len(examples)))
    for name in ("answer length", "answer seen in train"):
        assert sorted(found[name]) == answerable


def test_lengths_are_cut_into_quarters_and_answers_looked_up_normalised() -> None:
    rows = [
        Example(str(n), "A", {"question": "Who?", "context": "w " * n}, ["The Two"])
        for n in (10, 20, 30, 40)
    ]
    parts = {(name, value): numbers for name, value, numbers in slices(rows, {"two"})}
    assert parts["context length", "1 to 10 words"] == [0]
    assert parts["context length", "11 to 20 words"] == [1]
    assert parts["context length", "over 30 words"] == [3]
    assert parts["answer length", "2 words"] == [0, 1, 2, 3]
    assert parts["answer seen in train", "seen"] == [0, 1, 2, 3]
    assert not [name for name, _, _ in slices(rows) if name == "answer seen in train"]

"""Windows of long contexts, and which of them wins."""

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_assets.models import tiny_t5
from qa_assets.tasks.question_answering.prompts import head_of, source_text
from qa_assets.tasks.question_answering.windows import PieceCounter, Windows, best

QUESTION = "Who saw the town?"
WORDS = [
    "Rollo",
    "saw",
    "the",
    "town",
    ",",
    "and",
    "the",
    "town",
    "was",
    "old",
    ".",
    "Who",
    "was",
    "he",
    "?",
]


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> PieceCounter:
    """Of a vocabulary that was made of a few words."""
    texts = [" ".join(WORDS), source_text(QUESTION, "Rollo"), "abcdefghijklmnopqrstuvwxyz"] * 20
    model = tiny_t5.create(texts, tmp_path_factory.mktemp("tiny"), "unavailable", seed=1)
    return PieceCounter(model / "spiece.model")


def _context(words: int) -> str:
    return " ".join(f"{WORDS[number % len(WORDS)]}" for number in range(words))


def test_a_short_context_is_one_source_as_it_was(counter: PieceCounter) -> None:
    context = "  Rollo saw\nthe town.  "
    made = Windows(counter, 64, 16)
    assert made.sources(QUESTION, context) == [source_text(QUESTION, context)]
    assert made.of_source(source_text(QUESTION, context)) == [
        (source_text(QUESTION, context), 0, len(context))
    ]


def test_what_is_surely_short_is_not_counted() -> None:
    def fail(texts: object) -> list[int]:
        raise AssertionError(texts)

    context = "Rollo saw the town."
    source = source_text(QUESTION, context)
    for question in (QUESTION, ""):
        assert Windows(fail, len(source) + 2, 8).sources(question, context)
    with pytest.raises(AssertionError):
        Windows(fail, len(source) + 1, 8).sources(QUESTION, context)
    with pytest.raises(AssertionError):  # one character, and eighteen when it is normalised
        Windows(fail, 99, 8).sources(QUESTION, "\ufdfa")


def test_windows_cover_the_context_and_overlap(counter: PieceCounter) -> None:
    context = _context(700)
    source = source_text(QUESTION, context)
    made = Windows(counter, 128, 32)
    spans = [(window.start, window.end) for window in made.of_source(source)]
    assert len(spans) > 5
    assert (spans[0][0], spans[-1][1]) == (0, len(context))
    for start, end in spans:
        tokens = counter([source_text(QUESTION, context[start:end])])[0] + 1
        assert tokens <= 128
        assert tokens > 110
    for (_, end), (start, after) in zip(spans, spans[1:], strict=False):
        (shared,) = counter([context[start:end]])
        assert shared >= 32
        assert shared < 45 or after == len(context)  # the last one is as full as the others
        assert context[start - 1] == " "  # at words
    expected = [source_text(QUESTION, context[start:end]) for start, end in spans]
    assert made.sources(QUESTION, context) == expected


def test_an_answer_no_longer_than_the_overlap_is_whole_in_a_window(counter: PieceCounter) -> None:
    context = _context(300)
    made = Windows(counter, 96, 24).of_source(source_text(QUESTION, context))
    words = [word.span() for word in re.finditer(r"\S+", context)]
    for first, last in zip(words, words[12:], strict=False):
        if counter([context[first[0] : last[1]]])[0] <= 24:
            assert any(one.start <= first[0] and last[1] <= one.end for one in made)


@given(
    st.text(st.characters(codec="utf-8"), max_size=400),
    st.text(st.characters(codec="utf-8"), max_size=120),
    st.integers(16, 64),
    st.integers(0, 200),
)
@settings(max_examples=150, deadline=None)
def test_any_text_ends_in_windows(
    counter: PieceCounter, context: str, question: str, limit: int, overlap: int
) -> None:
    made = Windows(counter, limit, overlap)
    sources = made.sources(question, context)
    head = source_text(question, "")
    assert all(source.startswith(head) for source in sources)
    windows = [source.removeprefix(head) for source in sources]
    if len(windows) == 1:
        assert windows[0].strip() == context.strip() or not context.strip()
        return
    reached = 0
    starts: list[int] = []
    for window in windows:
        start = context.find(window, starts[-1] + 1 if starts else 0)
        assert start >= 0
        assert not context[reached:start].strip()  # nothing lies between windows
        starts.append(start)
        reached = max(reached, start + len(window))
    assert not context[reached:].strip()


def test_one_long_word_is_cut(counter: PieceCounter) -> None:
    context = "abcdefghij" * 200
    sources = Windows(counter, 128, 16).sources(QUESTION, context)
    assert len(sources) > 5
    assert max(counter(sources)) < 128


def test_a_question_that_fills_the_source_leaves_room_for_windows(counter: PieceCounter) -> None:
    question, context = _context(200), _context(200)
    sources = Windows(counter, 64, 16).sources(question, context)
    asked = counter([source_text(question, "")])[0]
    assert asked > 64
    assert all(12 <= tokens - asked <= 16 for tokens in counter(sources[:-1]))


def test_the_context_of_a_source(counter: PieceCounter) -> None:
    assert head_of("question: who? context: he context: she") == "question: who? context: "
    assert head_of("translate this") == "translate this"
    assert Windows(counter, 16, 4).of_source("translate " * 50) == [("translate " * 50, 0, 0)]


def test_windows_go_to_spark_workers(counter: PieceCounter) -> None:
    made = Windows(counter, 64, 16)
    there = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert there.sources(QUESTION, _context(99)) == made.sources(QUESTION, _context(99))


def test_the_surest_window_that_answers_wins() -> None:
    assert best(["", "a", "b"], [0.9, 0.2, 0.3]) == 2
    assert best(["", None, "b"], [0.9, 0.9, 0.1]) == 2
    assert best([None, "a", "b"], [None, None, None]) == 1
    assert best(["a", "b"], [0.5, 0.5]) == 0
    assert best(["", "", ""], [0.9, 0.4, 0.8]) == 1
    assert best([None, None], [None, None]) == 0


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.model"):
        PieceCounter(tmp_path / "nowhere.model")

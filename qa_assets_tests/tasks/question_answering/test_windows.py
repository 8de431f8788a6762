"""Windows of long contexts, and which of them wins."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qa_assets.core.examples import Budget, Count, Example, Prediction
from qa_assets.models import tiny_t5
from qa_assets.models.tokens import PieceCounter
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.tasks.question_answering.windows import Window, best, windows

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
    model = tiny_t5.create(texts, tmp_path_factory.mktemp("tiny"), ["unavailable"], seed=1)
    return PieceCounter(model / "spiece.model")


def cut(count: Count, most: int, overlap: int, question: str, context: str) -> list[Window]:
    return windows(source_text(question, ""), context, Budget(count, most, overlap))


def sources(count: Count, most: int, overlap: int, question: str, context: str) -> list[str]:
    return [window.source for window in cut(count, most, overlap, question, context)]


def _context(words: int) -> str:
    return " ".join(f"{WORDS[number % len(WORDS)]}" for number in range(words))


def test_a_short_context_is_one_source_as_it_was(counter: PieceCounter) -> None:
    context = "  Rollo saw\nthe town.  "
    assert cut(counter, 64, 16, QUESTION, context) == [
        (source_text(QUESTION, context), 0, len(context))
    ]


def test_what_is_surely_short_is_not_counted() -> None:
    def fail(texts: object) -> list[int]:
        raise AssertionError(texts)

    context = "Rollo saw the town."
    source = source_text(QUESTION, context)
    for question in (QUESTION, ""):
        assert sources(fail, len(source) + 2, 8, question, context)
    with pytest.raises(AssertionError):
        sources(fail, len(source) + 1, 8, QUESTION, context)
    with pytest.raises(AssertionError):  # one character, and eighteen when it is normalised
        sources(fail, 99, 8, QUESTION, "\ufdfa")


def test_windows_cover_the_context_and_overlap(counter: PieceCounter) -> None:
    context = _context(700)
    made = cut(counter, 128, 32, QUESTION, context)
    spans = [(window.start, window.end) for window in made]
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
    assert [window.source for window in made] == expected


def test_an_answer_no_longer_than_the_overlap_is_whole_in_a_window(counter: PieceCounter) -> None:
    context = _context(300)
    made = cut(counter, 96, 24, QUESTION, context)
    words = [word.span() for word in re.finditer(r"\S+", context)]
    for first, last in zip(words, words[12:], strict=False):
        if counter([context[first[0] : last[1]]])[0] <= 24:
            assert any(window.start <= first[0] and last[1] <= window.end for window in made)


@given(
    st.text(st.characters(codec="utf-8"), max_size=400),
    st.text(st.characters(codec="utf-8"), max_size=120),
    st.integers(16, 64),
    st.integers(0, 200),
)
@example("0" * 129, "", 16, 0)  # a text that repeats itself
@settings(max_examples=150, deadline=None)
def test_any_text_ends_in_windows(
    counter: PieceCounter, context: str, question: str, limit: int, overlap: int
) -> None:
    parts = cut(counter, limit, overlap, question, context)
    head = source_text(question, "")
    assert all(part.source == head + context[part.start : part.end] for part in parts)
    reached, starts = 0, [part.start for part in parts]
    assert starts == sorted(set(starts))
    for part in parts:
        assert not context[reached : part.start].strip()  # nothing lies between windows
        reached = max(reached, part.end)
    assert not context[reached:].strip()


def test_one_long_word_is_cut(counter: PieceCounter) -> None:
    context = "abcdefghij" * 200
    made = sources(counter, 128, 16, QUESTION, context)
    assert len(made) > 5
    assert max(counter(made)) < 128


def test_a_question_that_fills_the_source_leaves_room_for_windows(counter: PieceCounter) -> None:
    question, context = _context(200), _context(200)
    made = sources(counter, 64, 16, question, context)
    asked = counter([source_text(question, "")])[0]
    assert asked > 64
    assert all(12 <= tokens - asked <= 16 for tokens in counter(made[:-1]))


def test_a_question_that_looks_like_the_prompt_is_not_cut(counter: PieceCounter) -> None:
    question, context = "who? context: he", _context(99)
    task, example = (
        QuestionAnswering(),
        Example("1", "a", {"question": question, "context": context}),
    )
    head = source_text(question, "")
    (whole,) = task.prompts(example)
    assert whole.source == head + context
    parts = [prompt.source for prompt in task.prompts(example, Budget(counter, 64, 16))]
    assert len(parts) > 1
    for part in parts:
        assert part.startswith(head)
        assert part.removeprefix(head) in context


def test_a_window_s_target_is_the_first_answer_that_it_holds_whole(counter: PieceCounter) -> None:
    context = f"{_context(60)} Rouen {_context(60)} Dudo {_context(60)}"
    answers = [
        {"text": text, "answer_start": context.index(text)} for text in ("Dudo", "Rouen", context)
    ]
    references = [str(answer["text"]) for answer in answers]
    example = Example(
        "1", "a", {"question": "Who?", "context": context}, references, {"answers": answers}
    )
    prompts = QuestionAnswering().prompts(example, Budget(counter, 64, 16))
    targets = {prompt.targets for prompt in prompts}
    assert targets == {("Dudo",), ("Rouen",), ("unavailable",)}
    for prompt in prompts:
        (target,) = prompt.targets
        assert (target in prompt.source) == (target != "unavailable")


def predictions(texts: list[str], confidences: list[float] | list[None]) -> list[Prediction]:
    return [Prediction(*pair) for pair in zip(texts, confidences, strict=True)]


def test_the_surest_window_that_answers_wins() -> None:
    def winner(texts: list[str], confidences: list[float] | list[None]) -> int:
        parts = predictions(texts, confidences)
        return next(number for number, part in enumerate(parts) if part is best(parts))

    assert winner(["", "a", "b"], [0.9, 0.2, 0.3]) == 2
    assert winner(["", "", "b"], [0.9, 0.9, 0.1]) == 2
    assert winner(["", "a", "b"], [None, None, None]) == 1
    assert winner(["a", "b"], [0.5, 0.5]) == 0
    assert winner(["", "", ""], [0.9, 0.4, 0.8]) == 1
    assert winner(["", ""], [None, None]) == 0


def test_windows_that_say_no_answer_abstain() -> None:
    resolve = QuestionAnswering().resolve
    said = [Prediction("Unavailable", 0.9), Prediction(" Rollo ", 0.2)]
    assert resolve(said) == Prediction("Rollo", 0.2)
    assert resolve([Prediction("unavailable", 0.9)]) == Prediction("", 0.9)


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.model"):
        PieceCounter(tmp_path / "nowhere.model")

"""Parts of the questions that a mean can hide: by question word, length, article, and so on."""

import re
from collections.abc import Collection, Iterator, Sequence

from qa_assets.core.examples import Example
from qa_assets.core.slicing import Slice, by_value, by_words
from qa_assets.tasks.question_answering.metric import normalize

_QUESTION_WORD = re.compile(
    r"\b(how\s+(?:many|much)|what|whose|whom|who|when|where|which|why|how)\b", re.IGNORECASE
)
_ANSWER_LENGTHS = (1, 2, 3, 5, 10)  # words at most


def slices(
    examples: Sequence[Example], train_references: Collection[str] | None = None
) -> Iterator[Slice]:
    """The parts of the questions, see `Task.slices`."""
    everything = range(len(examples))
    answerable = [number for number in everything if examples[number].references]
    yield from by_value(
        "answerable",
        everything,
        lambda n: "answerable" if examples[n].references else "no answer",
        ["answerable", "no answer"],
    )
    yield from by_value(
        "question word", everything, lambda n: question_word(examples[n].inputs["question"])
    )
    contexts = [len(example.inputs["context"].split()) for example in examples]
    yield from by_words("context length", everything, contexts)
    lengths = [len(" ".join(example.references[:1]).split()) for example in examples]
    yield from by_words("answer length", answerable, lengths, _ANSWER_LENGTHS)
    if train_references is not None:
        known = set(map(normalize, train_references))
        yield from by_value(
            "answer seen in train",
            answerable,
            lambda n: (
                "seen"
                if any(normalize(text) in known for text in examples[n].references)
                else "not seen"
            ),
            ["seen", "not seen"],
        )
    yield from by_value("article", everything, lambda n: examples[n].group)


def question_word(question: str) -> str:
    """The first question word, "how many" and "how much" as one; "other" where there is none."""
    match = _QUESTION_WORD.search(question)
    if match is None:
        return "other"
    word = " ".join(match[1].lower().split())
    return {"how much": "how many", "whose": "who", "whom": "who"}.get(word, word)

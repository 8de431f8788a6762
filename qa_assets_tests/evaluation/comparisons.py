"""Comparisons of models on a few questions with texts that a page has to escape."""

from collections.abc import Sequence

from qa_assets.core.examples import Example, Prediction
from qa_assets.evaluation.comparison import Comparison
from qa_assets.tasks.question_answering.task import QuestionAnswering

TASK = QuestionAnswering()
HOSTILE = '<script>alert("x")</script> & "quoted"'


def questions(articles: int = 6) -> list[Example]:
    """Four questions an article, the last of them without an answer."""
    return [
        Example(
            id=f"{article}-{number}",
            group=f"{HOSTILE} {article}",
            inputs={
                "question": f"Who is number {number}? {HOSTILE}",
                "context": f"{HOSTILE} Number {number} is person {number} of article {article}.",
            },
            references=[f"person {number}"] if number < 3 else [],
            extra={"hidden": "not shown"},
        )
        for article in range(articles)
        for number in range(4)
    ]


def compared(examples: Sequence[Example]) -> Comparison:
    """A candidate that is right but for one answer an article, and a champion a bit worse."""
    gold = [example.references[0] if example.references else "" for example in examples]
    candidate = [
        HOSTILE if example.id.endswith("-2") else text
        for example, text in zip(examples, gold, strict=True)
    ]
    champion = [
        "wrong" if example.id in ("0-0", "1-3") else text
        for example, text in zip(examples, candidate, strict=True)
    ]
    confidences = [0.9 - number / 100 for number in range(len(gold))]
    return Comparison(
        TASK,
        examples,
        {
            "candidate": list(map(Prediction, candidate, confidences)),
            "champion": list(map(Prediction, champion, confidences)),
            "untuned": [Prediction("the number")] * len(gold),
        },
    )

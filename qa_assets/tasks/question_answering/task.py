"""The task of question answering, put together from the modules beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from qa_assets.core.descriptions import CardTexts
from qa_assets.core.examples import Budget, Example, Prediction, Prompt, Scores
from qa_assets.core.task import Kind, Predict, Task
from qa_assets.tasks.question_answering import (
    description,
    formats,
    generated,
    metric,
    slices,
    squad_files,
    windows,
)
from qa_assets.tasks.question_answering.prompts import prompts, source_text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class QuestionAnswering(Task):
    """Answers a question from a context, or abstains."""

    name: ClassVar = "question_answering"
    words: ClassVar = description.WORDS
    metrics: ClassVar = description.METRICS
    messages: ClassVar = description.MESSAGES
    raw: ClassVar = description.RAW

    inspect: ClassVar = staticmethod(formats.inspect)
    generate: ClassVar = staticmethod(generated.generate)
    slices: ClassVar = staticmethod(slices.slices)
    read_examples: ClassVar = staticmethod(squad_files.read_examples)
    read_predictions: ClassVar = staticmethod(squad_files.read_predictions)

    no_answer: str = Field(
        "unavailable", min_length=1, description="What the model says to abstain: one word."
    )
    # by default what a message may hold
    max_context_chars: int = Field(6_000, ge=1, description="Longer contexts are rejected.")
    max_question_chars: int = Field(1_000, ge=1, description="Longer questions are rejected.")

    @property
    def kind(self) -> Kind:
        """Text to text."""
        return "seq2seq"

    @property
    def abstention(self) -> str:
        """What the model says where a context holds no answer."""
        return self.no_answer

    @property
    def card(self) -> CardTexts:
        """What the model card says."""
        return description.card(self.no_answer, source_text(**self.messages.sample))

    def read(self, spark: "SparkSession", paths: Sequence[Path]) -> "DataFrame":
        """Every question of the files, checked."""
        from qa_assets.tasks.question_answering.validation import read_validated

        return read_validated(spark, paths, self.max_context_chars, self.max_question_chars)

    def inconsistent(self, examples: Sequence[Example]) -> list[str]:
        """Ids of questions with an answer that is not at its offset."""
        return [
            example.id
            for example in examples
            if bool(example.references) != bool(example.extra["answers"])
            or any(
                not example.inputs["context"].startswith(answer["text"], answer["answer_start"])
                for answer in example.extra["answers"]
            )
        ]

    def prompts(self, example: Example, budget: Budget | None = None) -> list[Prompt]:
        """One prompt, or one for each window of a long context."""
        return prompts(example, self.no_answer, budget)

    def resolve(self, outputs: Sequence[Prediction]) -> Prediction:
        """The answer of the best window; "" where the model says `no_answer`."""
        answers = []
        for output in outputs:
            text = output.text.strip()
            abstains = text.lower() == self.no_answer.lower()
            answers.append(Prediction("" if abstains else text, output.confidence))
        return windows.best(answers)

    def respond(self, prediction: Prediction) -> dict[str, Any]:
        """Answer, null where there is none, and confidence."""
        return {"answer": prediction.text or None, "confidence": prediction.confidence}

    def score(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """The official figures; rows are also apart for questions with and without an answer."""
        pairs = [(p.text, e.references) for p, e in zip(predictions, examples, strict=True)]
        rows = {
            "exact": [metric.exact_each(*pair) for pair in pairs],
            "f1": [metric.f1_each(*pair) for pair in pairs],
        }
        answerable = [bool(example.references) for example in examples]
        for part, wanted in (("HasAns", True), ("NoAns", False)):
            for name in ("exact", "f1"):
                rows[f"{part}_{name}"] = [
                    value if has_answer == wanted else math.nan
                    for value, has_answer in zip(rows[name], answerable, strict=True)
                ]
        return Scores(metric.summarize(rows["exact"], rows["f1"], answerable), rows)

    def baselines(
        self,
        examples: Sequence[Example],
        train: Callable[[], Sequence[Example]] | None,  # noqa: ARG002
    ) -> dict[str, list[Prediction]]:
        """To abstain always."""
        return {"always abstain": [Prediction("")] * len(examples)}

    def other_models(self) -> Mapping[str, Predict]:
        """Models that point at spans."""
        from qa_assets.tasks.question_answering.spans import predict

        return {"ForQuestionAnswering": predict}

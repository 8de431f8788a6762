"""The task of text classification, put together from the modules beside it."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from qa_assets.core.descriptions import CardTexts, FileFacts, Section
from qa_assets.core.examples import Budget, Example, Prediction, Prompt, Scores
from qa_assets.core.slicing import Slice, by_value, by_words
from qa_assets.core.task import Kind, SourceError, Task
from qa_assets.tasks.classification import (
    baselines,
    description,
    evaluation_files,
    formats,
    generated,
    metric,
    report,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Classification(Task):
    """Gives a text its label, or none where none fits."""

    name: ClassVar = "classification"
    words: ClassVar = description.WORDS
    metrics: ClassVar = description.METRICS
    messages: ClassVar = description.MESSAGES
    raw: ClassVar = description.RAW
    learned: ClassVar = ("label_names",)

    generate: ClassVar = staticmethod(generated.generate)

    model: Literal["encoder", "seq2seq"] = Field(
        "encoder",
        description="`encoder`: a classification head, which knows probabilities; `seq2seq`: the "
        "label as text.",
    )
    out_of_scope: str | None = Field(
        None, min_length=1, description="The label of texts that no other label fits."
    )
    out_of_scope_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The share of such texts among those that will come: abstention is calibrated "
        "for it. By default as in valid.",
    )
    multi_label: bool = Field(False, description="A text may have several labels, or none.")
    separator: str = Field("|", min_length=1, description="Between the labels of a text.")
    max_chars: int = Field(6_000, ge=1, description="Longer texts are rejected.")
    prefix: str = Field("classify: ", description="Before the text, in a prompt of `seq2seq`.")
    abstention_word: str = Field(
        "unavailable", min_length=1, description="What `seq2seq` says where no label fits."
    )
    label_names: tuple[str, ...] = Field((), description="Learned from train: leave it out.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.multi_label and self.out_of_scope:
            raise ValueError("multi_label: a text that no label fits has none; drop out_of_scope")
        if self.multi_label and self.model == "seq2seq":
            raise ValueError("multi_label needs model: encoder")
        return self

    @property
    def _separator(self) -> str | None:
        """Between the labels of a text; None: it has one."""
        return self.separator if self.multi_label else None

    @property
    def kind(self) -> Kind:
        """As the settings say."""
        return self.model

    @property
    def abstention(self) -> str | None:
        """The label, or the word, that stands for none fitting."""
        if self.out_of_scope is None:
            return None
        return self.out_of_scope if self.model == "encoder" else self.abstention_word

    @property
    def labels(self) -> Sequence[str]:
        """The labels of train, `out_of_scope` last."""
        return self.label_names

    @property
    def exclusive_labels(self) -> bool:
        """Unless `multi_label`."""
        return not self.multi_label

    @property
    def card(self) -> CardTexts:
        """What the model card says."""
        (prompt,) = self.prompts(Example("", "", self.messages.sample))
        return description.card(self.model, prompt.source, self.out_of_scope)

    def inspect(self, path: Path) -> FileFacts:
        """Format and counts of a data file."""
        return formats.inspect(path, self.out_of_scope, self._separator)

    def read(self, spark: "SparkSession", paths: Sequence[Path]) -> "DataFrame":
        """Every text of the files, checked."""
        from qa_assets.tasks.classification.validation import read_validated

        return read_validated(
            spark,
            paths,
            max_chars=self.max_chars,
            separator=self._separator,
            out_of_scope=self.out_of_scope,
        )

    def fit(self, accepted: "DataFrame") -> Self:
        """The task with the labels of train.

        Raises:
            SourceError: they are too few, or not those that the settings speak of.
        """
        from qa_assets.tasks.classification.validation import train_labels

        names = train_labels(accepted, self.out_of_scope)
        known = f"the labels of train are {', '.join(names[:10]) or 'none'}"
        if self.out_of_scope and self.out_of_scope not in names:
            raise SourceError(
                f"no good record of train has the label {self.out_of_scope!r}, which the task's"
                f" out_of_scope names: {known}"
            )
        if len(names) < (1 if self.multi_label else 2):
            raise SourceError(f"there is nothing to tell apart: {known}")
        if self.model == "seq2seq" and self.out_of_scope and self.abstention_word in names:
            raise SourceError(
                f"{self.abstention_word!r} is a label of train: set the task's abstention_word to"
                " another word"
            )
        return self.model_copy(update={"label_names": tuple(names)})

    def prompts(
        self,
        example: Example,
        budget: Budget | None = None,  # noqa: ARG002  the end of a long text is cut
    ) -> list[Prompt]:
        """The text, and its labels."""
        text = example.inputs["text"]
        if self.model == "encoder":
            targets = tuple(example.references)
            if not targets and self.out_of_scope:
                targets = (self.out_of_scope,)
            return [Prompt(text, targets)]
        target = next(iter(example.references), self.abstention_word)
        return [Prompt(f"{self.prefix}{text}", (target,))]

    def resolve(self, outputs: Sequence[Prediction]) -> Prediction:
        """The label; "" for `out_of_scope`, or where a text-to-text model says what is no label."""
        (output,) = outputs
        if self.multi_label:
            likely = [name for name, value in output.probabilities.items() if value >= 0.5]
            sure = math.prod(max(value, 1 - value) for value in output.probabilities.values())
            return Prediction(self.separator.join(likely), sure, output.probabilities)
        names = self.split_labels(output.text.strip())
        known = [name for name in names if name in self.label_names and name != self.out_of_scope]
        return Prediction("".join(known), output.confidence, output.probabilities)

    def split_labels(self, text: str) -> list[str]:
        """The labels of a prediction; none for ""."""
        if not self.multi_label:
            return [text] if text else []
        return [name for name in text.split(self.separator) if name]

    def respond(self, prediction: Prediction) -> dict[str, Any]:
        """Label, null where none fits, confidence and probabilities."""
        return {
            "label": prediction.text or None,
            "confidence": prediction.confidence,
            "probabilities": dict(prediction.probabilities) or None,
        }

    def score(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """Accuracy, in scope and out of it, macro-F1 and calibration error."""
        return metric.score(examples, predictions, self.split_labels)

    def calibration_weights(self, examples: Sequence[Example]) -> list[float]:
        """What makes texts out of scope as frequent as `out_of_scope_share`."""
        outside = sum(not example.references for example in examples)
        inside = len(examples) - outside
        if self.out_of_scope_share is None or not outside or not inside:
            return [1.0] * len(examples)
        share = self.out_of_scope_share
        weights = (share * len(examples) / outside, (1 - share) * len(examples) / inside)
        return [weights[bool(example.references)] for example in examples]

    def baselines(
        self, examples: Sequence[Example], train: Callable[[], Sequence[Example]] | None
    ) -> dict[str, list[Prediction]]:
        """The majority, and TF-IDF with logistic regression."""
        return baselines.predict(examples, train(), self.separator) if train else {}

    def slices(
        self,
        examples: Sequence[Example],
        train_references: Collection[str] | None = None,  # noqa: ARG002
    ) -> Iterator[Slice]:
        """By scope, length and label."""
        numbers = range(len(examples))
        yield from by_value(
            "scope",
            numbers,
            lambda n: "in scope" if examples[n].references else "out of scope",
            ["in scope", "out of scope"],
        )
        lengths = [len(example.inputs["text"].split()) for example in examples]
        yield from by_words("text length", numbers, lengths)
        by_label: dict[str, list[int]] = {}
        for number in numbers:
            for label in examples[number].references:
                by_label.setdefault(label, []).append(number)
        for label in sorted(by_label, key=lambda name: (-len(by_label[name]), name)):
            yield "label", label, by_label[label]

    def report_sections(
        self, examples: Sequence[Example], predictions: Sequence[Prediction]
    ) -> Sequence[Section]:
        """Confusions, scores by label, and abstention against accuracy."""
        return report.sections(examples, predictions, self.split_labels, self.out_of_scope)

    def read_examples(self, path: Path) -> list[Example]:
        """The labelled texts of a file; of CLINC150's JSON those of test."""
        return evaluation_files.read_examples(path, self._separator, self.out_of_scope)

    def read_predictions(self, path: Path) -> dict[str, Prediction]:
        """A JSON object from id to label."""
        return evaluation_files.read_predictions(path, self.out_of_scope)

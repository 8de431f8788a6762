"""The interface of a task: all that training, evaluation, deployment and streaming know of it.

A folder under `qa_assets.tasks` implements `Task`. Nothing of a particular task belongs here, and
no Spark, torch or Dagster: methods import these where they need them.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from qa_assets.core.descriptions import (
    CardTexts,
    FileFacts,
    Messages,
    Metrics,
    RawData,
    Section,
    Words,
)
from qa_assets.core.examples import Budget, Example, Prediction, Prompt, Scores
from qa_assets.core.slicing import Slice

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Kind = Literal["seq2seq", "encoder"]
Predict = Callable[[Path, Sequence[Example]], list[Prediction]]


class SourceError(RuntimeError):
    """A data file that cannot be fetched or read; names it, the place and the remedy."""


class EvaluationFileError(ValueError):
    """A file of examples or predictions that cannot be scored; names it, the place, the format."""


class Task(BaseModel, ABC):
    """A task with its settings, which are the fields of the subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    """The name of its folder."""
    words: ClassVar[Words]
    metrics: ClassVar[Metrics]
    messages: ClassVar[Messages]
    raw: ClassVar[RawData]
    learned: ClassVar[Sequence[str]] = ()
    """Fields that `fit` sets from the training data."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What its models are: text-to-text, or an encoder with a classification head."""

    @property
    @abstractmethod
    def abstention(self) -> str | None:
        """The target that stands for abstaining; None: this task never abstains."""

    @property
    def labels(self) -> Sequence[str]:
        """All targets, where a model classifies; else none."""
        return ()

    @property
    def exclusive_labels(self) -> bool:
        """Whether an example has exactly one label; else it has any number of them."""
        return True

    @property
    @abstractmethod
    def card(self) -> CardTexts:
        """Texts of the model card."""

    @abstractmethod
    def inspect(self, path: Path) -> FileFacts:
        """Format and counts of a data file, without Spark.

        Raises:
            SourceError: it cannot be read, is cut off, has another schema, or holds no record.
        """

    @abstractmethod
    def generate(self, out: Path, examples: int, seed: int) -> list[Path]:
        """Write a synthetic data set that a tiny model can learn; returns the train and test file.

        Raises:
            ValueError: it would have more examples than there are different ones.
        """

    @abstractmethod
    def read(self, spark: "SparkSession", paths: Sequence[Path]) -> "DataFrame":
        """Every record of the files, checked; columns as `qa_assets.data.records` has them."""

    def fit(self, accepted: "DataFrame") -> Self:  # noqa: ARG002
        """The task with its `learned` fields set from the accepted records of train."""
        return self

    def with_learned(self, settings: Mapping[str, Any]) -> Self:
        """This task with the `learned` fields of other settings."""
        return self.model_copy(update={name: settings[name] for name in self.learned})

    def inconsistent(self, examples: Sequence[Example]) -> list[str]:  # noqa: ARG002
        """Ids of examples that contradict themselves, for a check of every split."""
        return []

    @abstractmethod
    def prompts(self, example: Example, budget: Budget | None = None) -> list[Prompt]:
        """The prompts of an example: sources, and targets to learn.

        Args:
            example: references and extra matter for the targets only.
            budget: None: one prompt of any length. Else prompts that fit, if the task can split an
                example; a source that is still too long is truncated when it is tokenised.
        """

    @abstractmethod
    def resolve(self, outputs: Sequence[Prediction]) -> Prediction:
        """The prediction for an example from the outputs for its prompts, in their order.

        The text of an output is what the model generated: `abstention` where it abstains.
        """

    @abstractmethod
    def respond(self, prediction: Prediction) -> dict[str, Any]:
        """The fields of a response."""

    @abstractmethod
    def score(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """Score predictions; rows hold the primary and the exact metric of every example."""

    def calibration_weights(self, examples: Sequence[Example]) -> list[float]:
        """The weight of each example in the calibration of abstention; their mean is 1."""
        return [1.0] * len(examples)

    @abstractmethod
    def baselines(
        self, examples: Sequence[Example], train: Callable[[], Sequence[Example]] | None
    ) -> dict[str, list[Prediction]]:
        """Predictions that need no model, by name.

        Args:
            examples: to predict.
            train: loads the training examples; None where they are not known.
        """

    @abstractmethod
    def slices(
        self, examples: Sequence[Example], train_references: Collection[str] | None = None
    ) -> Iterator[Slice]:
        """Parts of the examples to score by themselves.

        Args:
            examples: any.
            train_references: references of the training examples; None where not known.
        """

    def report_sections(
        self,
        examples: Sequence[Example],  # noqa: ARG002
        predictions: Sequence[Prediction],  # noqa: ARG002
    ) -> Sequence[Section]:
        """Tables about the candidate that only this task has."""
        return ()

    @abstractmethod
    def read_examples(self, path: Path) -> list[Example]:
        """The examples of a data file, in order, to score predictions on; without Spark.

        Raises:
            EvaluationFileError: the file is of no known format.
        """

    @abstractmethod
    def read_predictions(self, path: Path) -> dict[str, Prediction]:
        """Predictions by id.

        Raises:
            EvaluationFileError: the file is of no known format.
        """

    def other_models(self) -> Mapping[str, Predict]:
        """How to ask models of other architectures, by the end of the architecture's name."""
        return {}

    def spec(self) -> dict[str, Any]:
        """The arguments of `load_task` as JSON, for manifests."""
        return {"name": self.name, "settings": self.model_dump(mode="json")}


def task_names() -> list[str]:
    """The names of the folders under `qa_assets.tasks`."""
    package = importlib.import_module("qa_assets.tasks")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)


def task_type(name: str) -> type[Task]:
    """The class of a task, which its folder exports as `TASK`.

    Raises:
        LookupError: there is no such task.
    """
    if name not in task_names():
        raise LookupError(f"there is no task {name!r}: there are {', '.join(task_names())}")
    task: type[Task] = importlib.import_module(f"qa_assets.tasks.{name}").TASK
    return task


def load_task(name: str, settings: Mapping[str, Any]) -> Task:
    """The task that `Task.spec` describes."""
    return task_type(name)(**settings)

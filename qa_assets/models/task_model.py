"""What training, evaluation and deployment know of a model: `TaskModel`, and how it predicts.

`seq2seq` and `encoder` implement it; which of them a task's models are is in `loading`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qa_assets.core.examples import Example, Prediction, Prompt
from qa_assets.core.task import Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class PredictOptions:
    """How predictions are computed.

    Attributes:
        max_source_tokens: of a prompt; longer examples become windows, or are cut at their end.
        window_overlap_tokens: that neighbouring windows share.
        max_new_tokens: of a decoded text, its end included; an encoder has no use for it.
        batch_size: prompts computed together.
        precision: `auto`, `fp32` or `bf16`, see `base_model.dtype`.
    """

    max_source_tokens: int = 512
    window_overlap_tokens: int = 128
    max_new_tokens: int = 32
    batch_size: int = 64
    precision: str = "auto"


@dataclass
class TaskModel(ABC):
    """A model of transformers and its tokenizer, which do a task."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    task: Task

    @classmethod
    @abstractmethod
    def load(cls, name_or_path: str | Path, task: Task, quantization: Any = None) -> Self:
        """Load a model as `base_model.load` does.

        An encoder gets the labels of the task, with a new head where it has another one.

        Raises:
            BaseModelError: files are missing or broken, or the hub has no such model in reach.
        """

    @staticmethod
    @abstractmethod
    def encode_targets(
        prompts: Sequence[Prompt], tokenizer: "PreTrainedTokenizerBase", task: Task, max_tokens: int
    ) -> tuple[list[list[int]], int]:
        """What is to be learnt of each prompt: token ids with their end, or label ids.

        Returns the ids, and how many texts were cut after `max_tokens`; labels never are.
        """

    @abstractmethod
    def loss(self, label_smoothing: float) -> "torch.nn.Module":
        """A module from `input_ids, attention_mask, labels` to the loss summed over the targets.

        `labels` has the ids of `encode_targets`, padded with -100.
        """

    @abstractmethod
    def predict(self, examples: Sequence[Example], options: PredictOptions) -> list[Prediction]:
        """The prediction for each example; logs progress every few seconds."""

    @abstractmethod
    def outputs(self, sources: Sequence[str], options: PredictOptions) -> list[Prediction]:
        """What the model says to the sources of prompts, before `Task.resolve`."""

    @abstractmethod
    def abstention_margins(
        self, examples: Sequence[Example], options: PredictOptions
    ) -> tuple[list[float], list[Prediction]]:
        """By example the logit of abstaining less the best other, and what is predicted otherwise.

        A bias of `set_abstention_bias` is not in the margins. An example in several windows is
        abstained on where all of them are: its margin is their least, its prediction that of the
        window with the least.
        """

    @staticmethod
    @abstractmethod
    def abstention_id(tokenizer: "PreTrainedTokenizerBase", task: Task) -> int:
        """The token or label that stands for abstaining.

        Raises:
            BaseModelError: the model has no such token or label.
        """

    @classmethod
    @abstractmethod
    def set_abstention_bias(cls, model_dir: Path, task: Task, bias: float) -> None:
        """Write into a Hugging Face directory what every runtime adds to the logit of abstaining.

        Replaces what was written before; a bias of 0 leaves no trace.
        """

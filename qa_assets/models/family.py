"""What training, evaluation and deployment know of a model: one interface, by the task's kind.

`seq2seq` and `encoder` implement it. torch and transformers are imported by the implementations, in
functions, so that this module can be imported anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qa_assets.core.examples import Example, Prediction, Prompt
from qa_assets.core.task import Kind, Task

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


class Family(Protocol):
    """Models of one kind."""

    def load(
        self, name_or_path: str | Path, task: Task, quantization: Any = None
    ) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """Load a model and its tokenizer in fp32, in evaluation mode.

        Args:
            name_or_path: a Hugging Face directory, or an id on the hub.
            task: an encoder gets its labels, with a new head where it has another one.
            quantization: transformers' `quantization_config`.

        Raises:
            BaseModelError: files are missing or broken, or the hub has no such model in reach.
        """

    def encode_targets(
        self,
        prompts: Sequence[Prompt],
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        max_tokens: int,
    ) -> tuple[list[list[int]], int]:
        """What is to be learnt of each prompt: token ids with their end, or label ids.

        Args:
            prompts: with targets.
            tokenizer: the model's.
            task: knows the labels.
            max_tokens: longer texts are cut at their end; labels never are.

        Returns:
            Ids, and how many targets were cut.
        """

    def loss(self, model: "PreTrainedModel", label_smoothing: float) -> "torch.nn.Module":
        """A module from `input_ids, attention_mask, labels` to the loss summed over the targets.

        `labels` has the ids of `encode_targets`, padded with -100.
        """

    def predict(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        examples: Sequence[Example],
        options: PredictOptions,
    ) -> list[Prediction]:
        """The prediction for each example; logs progress every few seconds."""

    def outputs(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        sources: Sequence[str],
        options: PredictOptions,
    ) -> list[Prediction]:
        """What a model says to the sources of prompts, before `Task.resolve`."""

    def abstention_margins(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        examples: Sequence[Example],
        options: PredictOptions,
    ) -> tuple[list[float], list[Prediction]]:
        """By example the logit of abstaining less the best other, and what is predicted otherwise.

        A bias of `set_abstention_bias` is not in the margins. An example in several windows is
        abstained on where all of them are: its margin is their least, its prediction that of the
        window with the least.
        """

    def abstention_id(self, tokenizer: "PreTrainedTokenizerBase", task: Task) -> int:
        """The token or label that stands for abstaining.

        Raises:
            BaseModelError: the model has no such token or label.
        """

    def set_abstention_bias(self, model_dir: Path, task: Task, bias: float) -> None:
        """Write into a Hugging Face directory what every runtime adds to the logit of abstaining.

        Replaces what was written before; a bias of 0 leaves no trace.
        """


def family(kind: Kind) -> Family:
    """The family of that kind."""
    if kind == "encoder":
        from qa_assets.models.encoder import Encoder

        return Encoder()
    from qa_assets.models.seq2seq import Seq2Seq

    return Seq2Seq()


def predict(
    model_dir: str | Path, task: Task, examples: Sequence[Example], options: PredictOptions
) -> list[Prediction]:
    """Load a model and predict every example."""
    models = family(task.kind)
    model, tokenizer = models.load(model_dir, task)
    return models.predict(model, tokenizer, task, examples, options)

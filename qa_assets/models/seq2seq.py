"""The `Family` of text-to-text models: an output is a text, and abstaining is one token of it.

How token ids are decoded is in `decoding`; what is optimised in `t5.training` and `generic`.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core import files
from qa_assets.core.examples import Example, Prediction, Prompt
from qa_assets.core.task import Task
from qa_assets.models import base_model, decoding, t5
from qa_assets.models.family import PredictOptions
from qa_assets.models.tokenization import cut, encode, encode_prompts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_GENERATION = "generation_config.json"


class Seq2Seq:
    """Encoder-decoder models."""

    def __init__(self, abstention: str | None = None) -> None:
        """For models that abstain in the task's words.

        Args:
            abstention: what these models say to abstain, if that is another text than the task's.
        """
        self._abstention = abstention

    def load(
        self,
        name_or_path: str | Path,
        task: Task,  # noqa: ARG002
        quantization: Any = None,
    ) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """See `Family.load`."""
        return base_model.load(name_or_path, quantization)

    def encode_targets(
        self,
        prompts: Sequence[Prompt],
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,  # noqa: ARG002
        max_tokens: int,
    ) -> tuple[list[list[int]], int]:
        """See `Family.encode_targets`."""
        texts = [prompt.targets[0] for prompt in prompts]
        return cut(tokenizer(text_target=texts, verbose=False)["input_ids"], max_tokens)

    def loss(self, model: "PreTrainedModel", label_smoothing: float) -> "torch.nn.Module":
        """See `Family.loss`."""
        if t5.applies_to(model):
            from qa_assets.models.t5.training import FastT5

            return FastT5(model, label_smoothing)
        from qa_assets.models.generic import GenericLoss

        return GenericLoss(model, label_smoothing)

    def predict(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        examples: Sequence[Example],
        options: PredictOptions,
    ) -> list[Prediction]:
        """See `Family.predict`; a confidence is the product of the token probabilities."""
        ids, of_example = _encode(model, tokenizer, task, examples, options)
        by_example: list[list[Prediction]] = [[] for _ in examples]
        outputs = decoding.decode(model, tokenizer, ids, options)
        for number, output in zip(of_example, outputs, strict=True):
            by_example[number].append(self._in_words_of(task, _prediction(output)))
        return [task.resolve(parts) for parts in by_example]

    def _in_words_of(self, task: Task, output: Prediction) -> Prediction:
        own = self._abstention
        if own is None or task.abstention is None or output.text.lower() != own.lower():
            return output
        return Prediction(task.abstention, output.confidence)

    def outputs(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        sources: Sequence[str],
        options: PredictOptions,
    ) -> list[Prediction]:
        """See `Family.outputs`."""
        ids = encode(tokenizer, sources)
        return list(map(_prediction, decoding.generate(model, tokenizer, ids, options)))

    def abstention_margins(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        task: Task,
        examples: Sequence[Example],
        options: PredictOptions,
    ) -> tuple[list[float], list[Prediction]]:
        """See `Family.abstention_margins`.

        Logits are those of the first token of the text; the predictions are decoded without the
        abstention token.
        """
        token = self.abstention_id(tokenizer, task)
        text_start = tokenizer(text_target=task.abstention)["input_ids"].index(token)
        ids, of_example = _encode(model, tokenizer, task, examples, options)
        margins = [math.inf] * len(examples)
        predictions = [Prediction("")] * len(examples)
        abstention = decoding.Abstention(token, text_start)
        outputs = decoding.decode(model, tokenizer, ids, options, abstention)
        for example, output in zip(of_example, outputs, strict=True):
            if output.margin < margins[example]:
                margins[example] = output.margin
                predictions[example] = task.resolve([Prediction(output.text)])
        return margins, predictions

    def abstention_id(self, tokenizer: "PreTrainedTokenizerBase", task: Task) -> int:
        """See `Family.abstention_id`."""
        text = task.abstention
        ids: list[int] = tokenizer(text_target=text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise base_model.BaseModelError(
                f"abstention of {task.name}: {text!r} is {len(ids)} tokens "
                f"({tokenizer.convert_ids_to_tokens(ids)}) and must be one of the model's "
                "vocabulary: choose another word in the task's settings"
            )
        return ids[0]

    def set_abstention_bias(self, model_dir: Path, task: Task, bias: float) -> None:
        """See `Family.set_abstention_bias`: `sequence_bias` of the generation config."""
        path = model_dir / _GENERATION
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("sequence_bias", None)
        if bias:
            token = self.abstention_id(base_model.load_tokenizer(model_dir), task)
            settings["sequence_bias"] = [[[token], bias]]
        files.write_json(path, settings)


def _encode(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    examples: Sequence[Example],
    options: PredictOptions,
) -> tuple[list[list[int]], list[int]]:
    """Token ids of every prompt, and the number of its example.

    Only a model with a fixed number of positions has prompts cut: T5's relative positions cope with
    more than training showed.
    """
    limit = base_model.max_positions(model)
    most = min(options.max_source_tokens, limit or options.max_source_tokens)
    encoded = encode_prompts(task, examples, tokenizer, most, options.window_overlap_tokens)
    ids = [prompt.ids for prompts in encoded for prompt in prompts]
    of_example = [number for number, prompts in enumerate(encoded) for _ in prompts]
    return (cut(ids, limit)[0] if limit else ids), of_example


def _prediction(output: decoding.Output) -> Prediction:
    return Prediction(output.text, output.confidence)

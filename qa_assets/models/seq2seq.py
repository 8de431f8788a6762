"""The `TaskModel` of text-to-text models: an output is a text, and abstaining is one token of it.

How token ids are decoded is in `decoding`; what is optimised in `losses` and, faster, `t5`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn
from transformers import PreTrainedTokenizerBase

from qa_assets.core import files
from qa_assets.core.examples import Example, Prediction, Prompt
from qa_assets.core.task import Task
from qa_assets.models import base_model, decoding, t5
from qa_assets.models.losses import Seq2SeqLoss
from qa_assets.models.t5.training import FastT5
from qa_assets.models.task_model import PredictOptions, TaskModel
from qa_assets.models.tokenization import cut, encode, encode_prompts

_GENERATION = "generation_config.json"


@dataclass
class Seq2Seq(TaskModel):
    """An encoder-decoder.

    Attributes:
        abstention: what the model says to abstain, if that is another text than the task's.
    """

    abstention: str | None = None

    @classmethod
    def load(cls, name_or_path: str | Path, task: Task, quantization: Any = None) -> Self:
        """See `TaskModel`."""
        return cls(*base_model.load(name_or_path, quantization), task)

    @staticmethod
    def encode_targets(
        prompts: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,
        task: Task,  # noqa: ARG004
        max_tokens: int,
    ) -> tuple[list[list[int]], int]:
        """See `TaskModel`."""
        texts = [prompt.targets[0] for prompt in prompts]
        return cut(tokenizer(text_target=texts, verbose=False)["input_ids"], max_tokens)

    def loss(self, label_smoothing: float) -> nn.Module:
        """See `TaskModel`."""
        loss = FastT5 if t5.applies_to(self.model) else Seq2SeqLoss
        return loss(self.model, label_smoothing)

    def predict(self, examples: Sequence[Example], options: PredictOptions) -> list[Prediction]:
        """See `TaskModel`; a confidence is the product of the token probabilities."""
        ids, of_example = self._encode(examples, options)
        by_example: list[list[Prediction]] = [[] for _ in examples]
        outputs = decoding.decode(self.model, self.tokenizer, ids, options)
        for number, output in zip(of_example, outputs, strict=True):
            by_example[number].append(self._in_words_of_the_task(output))
        return [self.task.resolve(parts) for parts in by_example]

    def _in_words_of_the_task(self, output: decoding.Output) -> Prediction:
        own, wanted = self.abstention, self.task.abstention
        if own is not None and wanted is not None and output.text.lower() == own.lower():
            return Prediction(wanted, output.confidence)
        return Prediction(output.text, output.confidence)

    def outputs(self, sources: Sequence[str], options: PredictOptions) -> list[Prediction]:
        """See `TaskModel`."""
        ids = encode(self.tokenizer, sources)
        outputs = decoding.generate(self.model, self.tokenizer, ids, options)
        return [Prediction(output.text, output.confidence) for output in outputs]

    def abstention_margins(
        self, examples: Sequence[Example], options: PredictOptions
    ) -> tuple[list[float], list[Prediction]]:
        """See `TaskModel`.

        Logits are those of the first token of the text; the predictions are decoded without the
        abstention token.
        """
        token = self.abstention_id(self.tokenizer, self.task)
        text_start = self.tokenizer(text_target=self.task.abstention)["input_ids"].index(token)
        ids, of_example = self._encode(examples, options)
        margins = [math.inf] * len(examples)
        predictions = [Prediction("")] * len(examples)
        abstention = decoding.Abstention(token, text_start)
        outputs = decoding.decode(self.model, self.tokenizer, ids, options, abstention)
        for example, output in zip(of_example, outputs, strict=True):
            if output.margin < margins[example]:
                margins[example] = output.margin
                predictions[example] = self.task.resolve([Prediction(output.text)])
        return margins, predictions

    @staticmethod
    def abstention_id(tokenizer: PreTrainedTokenizerBase, task: Task) -> int:
        """See `TaskModel`."""
        text = task.abstention
        ids: list[int] = tokenizer(text_target=text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise base_model.BaseModelError(
                f"abstention of {task.name}: {text!r} is {len(ids)} tokens "
                f"({tokenizer.convert_ids_to_tokens(ids)}) and must be one of the model's "
                "vocabulary: choose another word in the task's settings"
            )
        return ids[0]

    @classmethod
    def set_abstention_bias(cls, model_dir: Path, task: Task, bias: float) -> None:
        """See `TaskModel`: `sequence_bias` of the generation config."""
        path = model_dir / _GENERATION
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("sequence_bias", None)
        if bias:
            token = cls.abstention_id(base_model.load_tokenizer(model_dir), task)
            settings["sequence_bias"] = [[[token], bias]]
        files.write_json(path, settings)

    def _encode(
        self, examples: Sequence[Example], options: PredictOptions
    ) -> tuple[list[list[int]], list[int]]:
        """Token ids of every prompt, and the number of its example.

        Only a model with a fixed number of positions has prompts cut: T5's relative positions cope
        with more than training showed.
        """
        limit = base_model.max_positions(self.model)
        most = min(options.max_source_tokens, limit or options.max_source_tokens)
        encoded = encode_prompts(
            self.task, examples, self.tokenizer, most, options.window_overlap_tokens
        )
        ids = [prompt.ids for prompts in encoded for prompt in prompts]
        of_example = [number for number, prompts in enumerate(encoded) for _ in prompts]
        return (cut(ids, limit)[0] if limit else ids), of_example

"""The `TaskModel` of encoders with a classification head: an output is the labels' probabilities.

Label ids are the numbers of `Task.labels`, which are in the model's config (`id2label`).
"""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from qa_assets.core import files
from qa_assets.core.examples import Example, Prediction, Prompt
from qa_assets.core.task import Task
from qa_assets.models import base_model
from qa_assets.models.base_model import BaseModelError
from qa_assets.models.losses import EncoderLoss
from qa_assets.models.task_model import PredictOptions, TaskModel
from qa_assets.models.tokenization import batches_by_length, cut, encode, pad

logger = logging.getLogger(__name__)
_AUTO_CLASS = "AutoModelForSequenceClassification"
_BIAS = "abstention_bias"  # in config.json: how much of the head's bias is calibrated
_LOG_SECONDS = 5.0
_MULTI_LABEL = "multi_label_classification"


@dataclass
class Encoder(TaskModel):
    """An encoder, BERT or RoBERTa say."""

    @classmethod
    def load(cls, name_or_path: str | Path, task: Task, quantization: Any = None) -> Self:
        """See `TaskModel`; a head for other labels gives way to a new one, always the same."""
        labels = list(task.labels)
        options: dict[str, Any] = {}
        if labels and not _has_labels(name_or_path, labels):
            options = {
                "id2label": dict(enumerate(labels)),
                "label2id": {label: number for number, label in enumerate(labels)},
                "ignore_mismatched_sizes": True,
            }
        if not task.exclusive_labels:
            options["problem_type"] = _MULTI_LABEL
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, tokenizer = base_model.load(name_or_path, quantization, _AUTO_CLASS, **options)
        if labels:
            _order_labels(model, labels)
        return cls(model, tokenizer, task)

    @staticmethod
    def encode_targets(
        prompts: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,  # noqa: ARG004
        task: Task,
        max_tokens: int,  # noqa: ARG004
    ) -> tuple[list[list[int]], int]:
        """See `TaskModel`: label ids."""
        ids = {label: number for number, label in enumerate(task.labels)}
        return [[ids[label] for label in prompt.targets] for prompt in prompts], 0

    @property
    def _several(self) -> bool:
        return bool(self.model.config.problem_type == _MULTI_LABEL)

    def loss(self, label_smoothing: float) -> torch.nn.Module:
        """See `TaskModel`."""
        return EncoderLoss(self.model, label_smoothing, self._several)

    def _sources(self, examples: Sequence[Example]) -> list[str]:
        return [self.task.prompts(example)[0].source for example in examples]

    def predict(self, examples: Sequence[Example], options: PredictOptions) -> list[Prediction]:
        """See `TaskModel`."""
        outputs = self.outputs(self._sources(examples), options)
        return [self.task.resolve([output]) for output in outputs]

    def outputs(self, sources: Sequence[str], options: PredictOptions) -> list[Prediction]:
        """See `TaskModel`; the text is the most probable label."""
        names = _names(self.model)
        result = [Prediction("")] * len(sources)
        for numbers, logits in self._logits(sources, options):
            probabilities = logits.sigmoid() if self._several else logits.softmax(-1)
            for number, row in zip(numbers, probabilities.tolist(), strict=True):
                by_label = dict(zip(names, row, strict=True))
                best = max(by_label, key=by_label.__getitem__)
                result[number] = Prediction(best, by_label[best], by_label)
        return result

    def abstention_margins(
        self, examples: Sequence[Example], options: PredictOptions
    ) -> tuple[list[float], list[Prediction]]:
        """See `TaskModel`."""
        label, names = self.abstention_id(self.tokenizer, self.task), _names(self.model)
        margins = [0.0] * len(examples)
        predictions = [Prediction("")] * len(examples)
        for numbers, batch in self._logits(self._sources(examples), options):
            logits = batch.clone()
            abstaining = logits[:, label] - getattr(self.model.config, _BIAS, 0.0)
            logits[:, label] = -float("inf")
            best = logits.max(dim=-1)
            probabilities = logits.softmax(-1)
            for row, number in enumerate(numbers):
                margins[number] = float(abstaining[row] - best.values[row])
                chosen = int(best.indices[row])
                by_label = dict(zip(names, probabilities[row].tolist(), strict=True))
                output = Prediction(names[chosen], by_label[names[chosen]], by_label)
                predictions[number] = self.task.resolve([output])
        return margins, predictions

    @staticmethod
    def abstention_id(
        tokenizer: PreTrainedTokenizerBase,  # noqa: ARG004
        task: Task,
    ) -> int:
        """See `TaskModel`."""
        labels = list(task.labels)
        if task.abstention not in labels:
            raise BaseModelError(
                f"{task.abstention!r}, the label that abstains, is not in train: its labels are "
                f"{', '.join(labels[:10])}"
            )
        return labels.index(task.abstention)

    @classmethod
    def set_abstention_bias(cls, model_dir: Path, task: Task, bias: float) -> None:
        """See `TaskModel`: the bias of the classification head itself changes."""
        config_path, weights_path = model_dir / "config.json", model_dir / "model.safetensors"
        config = json.loads(config_path.read_text(encoding="utf-8"))
        weights = load_file(weights_path)
        label = int(config["label2id"][task.abstention])
        head = weights[_head_bias(weights, len(config["id2label"]))]
        head[label] += bias - config.pop(_BIAS, 0.0)
        if bias:
            config[_BIAS] = bias
        with files.replacing(weights_path) as unfinished:
            save_file(weights, unfinished, metadata={"format": "pt"})
        files.write_json(config_path, config)

    def _logits(
        self, sources: Sequence[str], options: PredictOptions
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Numbers of some sources and their logits in fp32, of shape [sources, labels]."""
        model, tokenizer = self.model, self.tokenizer
        limit = base_model.max_positions(model) or options.max_source_tokens
        most = min(limit, options.max_source_tokens)
        ids, _ = cut(encode(tokenizer, sources), most)
        start = logged = time.monotonic()
        done = 0
        for numbers in batches_by_length([len(tokens) for tokens in ids], options.batch_size):
            input_ids = pad([ids[number] for number in numbers], tokenizer.pad_token_id)
            input_ids = input_ids.to(model.device)
            mask = (input_ids != tokenizer.pad_token_id).long()
            with torch.inference_mode(), base_model.autocast(model, options.precision):
                model.eval()
                logits = model(input_ids=input_ids, attention_mask=mask).logits.float()
            yield numbers, logits.cpu()
            done += len(numbers)
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                logger.info(
                    "predicted %d of %d, %.1f a second", done, len(ids), done / (logged - start)
                )


def _names(model: PreTrainedModel) -> list[str]:
    labels: dict[int, str] = model.config.id2label
    return [labels[number] for number in range(len(labels))]


def _has_labels(name_or_path: str | Path, labels: Sequence[str]) -> bool:
    """Whether a model already has a head for these labels, in whatever order."""
    try:
        config = AutoConfig.from_pretrained(str(name_or_path))
    except (OSError, ValueError):
        return False  # loading says what is wrong
    return set(config.id2label.values()) == set(labels)


def _order_labels(model: Any, labels: list[str]) -> None:
    """Bring the rows of the head into the order of the task's labels."""
    names = _names(model)
    if names == labels:
        return
    order = torch.tensor([names.index(label) for label in labels])
    state = model.state_dict()
    bias = _head_bias(state, len(labels))
    with torch.no_grad():
        for name in (bias, bias.removesuffix("bias") + "weight"):
            parameter = model.get_parameter(name)
            parameter.copy_(parameter[order])
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}


def _head_bias(weights: dict[str, torch.Tensor], labels: int) -> str:
    """The name of the head's bias: the last bias with a number for each label."""
    names = [
        name
        for name, tensor in weights.items()
        if name.endswith("bias") and tuple(tensor.shape) == (labels,)
    ]
    heads = [name for name in names if name.startswith(("classifier", "score"))]
    if not heads:
        raise BaseModelError("the classification head has no bias to calibrate abstention with")
    return heads[-1]

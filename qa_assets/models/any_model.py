"""Predictions of any Hugging Face directory, also of models that were not trained here.

For scoring only: what is trained and served goes through `loading`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import Predict, Task
from qa_assets.models import base_model
from qa_assets.models.loading import predict
from qa_assets.models.task_model import PredictOptions


class ModelError(ValueError):
    """A directory without a model that can do the task; the message names it and the reason."""


def predict_any(model_dir: Path, task: Task, examples: Sequence[Example]) -> list[Prediction]:
    """Predict with a model of any architecture that can do the task.

    That is an encoder-decoder, which reads the task's prompts, an architecture of
    `Task.other_models`, or, if the task's models are encoders, a sequence classifier.

    Raises:
        ModelError: there is no such directory, it cannot be loaded, or is of another architecture.
    """
    from transformers import AutoConfig

    if not model_dir.is_dir():
        raise ModelError(f"{model_dir}: there is no such directory")
    if not (model_dir / "config.json").is_file():
        raise ModelError(f"{model_dir}: lacks config.json, so it is no Hugging Face directory")
    path = model_dir.absolute()
    try:
        config = AutoConfig.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{model_dir}: its config.json cannot be read ({_first_line(error)})"
        ) from error
    architecture = (config.architectures or ["none"])[0]
    ask = _predictor(architecture, config.is_encoder_decoder, task)
    if ask is None:
        others = "".join(f", …{ending}" for ending in task.other_models())
        raise ModelError(
            f"{model_dir}: its architecture {architecture} does not do {task.name}; wanted is an "
            f"encoder-decoder{others}"
        )
    try:
        return ask(path, examples)
    except Exception as error:  # safetensors, JSON and the tokenizers each raise their own
        raise ModelError(f"{model_dir}: cannot be loaded or run ({_first_line(error)})") from error


def _predictor(architecture: str, is_encoder_decoder: bool, task: Task) -> Predict | None:
    for ending, ask in task.other_models().items():
        if architecture.endswith(ending):
            return ask
    if task.kind == "encoder" and architecture.endswith("ForSequenceClassification"):
        return lambda path, examples: predict(path, task, examples, PredictOptions())
    if is_encoder_decoder:
        return lambda path, examples: _text_to_text(path, task, examples)
    return None


def _text_to_text(path: Path, task: Task, examples: Sequence[Example]) -> list[Prediction]:
    from qa_assets.models.seq2seq import Seq2Seq

    calibration = path / base_model.CALIBRATION
    text = json.loads(calibration.read_text("utf-8"))["null_text"] if calibration.exists() else None
    model = Seq2Seq(*base_model.load_unchecked(path, "AutoModelForSeq2SeqLM"), task, text)
    return model.predict(examples, PredictOptions())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]

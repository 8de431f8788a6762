"""The scores of a trained model on test, with and without calibrated abstention."""

import shutil
from pathlib import Path

from qa_assets.core import files
from qa_assets.core.examples import read_examples
from qa_assets.models.family import family
from qa_assets.training import calibration
from qa_assets.training.config import TrainingConfig
from qa_assets.training.trainer import TrainingInputs


def evaluate(
    checkpoint: Path,
    inputs: TrainingInputs,
    test_rows: Path,
    config: TrainingConfig,
    out: Path,
    calibration_examples: int = 2000,
) -> dict[str, dict[str, float]]:
    """Score a checkpoint on test, and leave a calibrated copy beside it as `model`.

    Returns:
        What is written to the file `out` as well: figures of `Task.score` by `as trained` and,
        if calibration changes the model, `calibrated`.
    """
    import torch

    task, options = inputs.task, config.predict_options
    models = family(task.kind)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    test = read_examples(test_rows)

    def scores(model_dir: Path) -> dict[str, float]:
        model, tokenizer = models.load(model_dir, task)
        predictions = models.predict(model.to(device), tokenizer, task, test, options)
        return task.score(test, predictions).figures

    result = {"as trained": scores(checkpoint)}
    model, tokenizer = models.load(checkpoint, task)
    calibrated = calibration.calibrate(
        model.to(device), tokenizer, task, read_examples(inputs.valid_rows, calibration_examples),
        options,
    )  # fmt: skip
    copy = checkpoint.with_name("model")
    with files.replacing(copy) as unfinished:
        shutil.copytree(checkpoint, unfinished)
        calibration.apply(unfinished, task, calibrated)
    if calibrated and calibrated.bias:
        result["calibrated"] = scores(copy)
    files.write_json(out, result)
    return result

"""The scores of a trained model on test, with and without calibrated abstention."""

import shutil
from pathlib import Path

from qa_assets.core import files
from qa_assets.core.examples import read_examples
from qa_assets.models.family import load
from qa_assets.models.task_model import TaskModel
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
    test = read_examples(test_rows)

    def loaded(model_dir: Path) -> TaskModel:
        model = load(model_dir, task)
        model.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return model

    def scores(model: TaskModel) -> dict[str, float]:
        return task.score(test, model.predict(test, options)).figures

    trained = loaded(checkpoint)
    result = {"as trained": scores(trained)}
    valid = read_examples(inputs.valid_rows, calibration_examples)
    calibrated = calibration.calibrate(trained, valid, options)
    copy = checkpoint.with_name("model")
    with files.replacing(copy) as unfinished:
        shutil.copytree(checkpoint, unfinished)
        calibration.apply(unfinished, task, calibrated)
    if calibrated and calibrated.bias:
        result["calibrated"] = scores(loaded(copy))
    files.write_json(out, result)
    return result

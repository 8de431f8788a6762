"""The last word on a trained model: its scores on test, with and without calibrated abstention."""

import shutil
from pathlib import Path

from qa_assets.core import files
from qa_assets.evaluation.comparison import read_split
from qa_assets.models import base_model, decoding
from qa_assets.tasks.question_answering import metric
from qa_assets.training import calibration
from qa_assets.training.config import TrainingConfig

Scores = dict[str, dict[str, float]]


def evaluate(
    checkpoint: Path,
    valid_rows: Path,
    test_rows: Path,
    config: TrainingConfig,
    null_text: str,
    out: Path,
    calibration_rows: int = 2000,
) -> Scores:
    """Score a checkpoint on test by the official metric, and leave a calibrated copy beside it.

    Args:
        checkpoint: Hugging Face directory; the copy is called `model`.
        valid_rows: Parquet of `source`, `references` and `title`, to choose the bias on.
        test_rows: Parquet of `source` and `references`.
        config: how answers are decoded.
        null_text: what the model says to abstain.
        out: JSON file for the scores.
        calibration_rows: of valid, drawn at random.

    Returns:
        Official scores in percent by `as trained` and `calibrated`.
    """
    import torch

    model, tokenizer = base_model.load(checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    test = read_split(test_rows, ["source", "references"])
    sources = [row["source"] for row in test]
    references = [row["references"] for row in test]

    def scores() -> dict[str, float]:
        found, _ = decoding.answer(model, tokenizer, sources, null_text, **config.answering)
        return metric.score(found, references)

    result = {"as trained": scores()}
    calibrated = calibration.calibrate(
        model,
        tokenizer,
        read_split(valid_rows, ["source", "references", "title"], calibration_rows),
        config=config,
        null_text=null_text,
        score_each=metric.f1_each,
    )
    copy = checkpoint.with_name("model")
    with files.replacing(copy) as unfinished:
        shutil.copytree(checkpoint, unfinished)
        calibration.apply(unfinished, calibrated)
    if calibrated.bias:
        model.generation_config = type(model.generation_config).from_pretrained(copy)
        result["calibrated"] = scores()
    files.write_json(out, result)
    return result

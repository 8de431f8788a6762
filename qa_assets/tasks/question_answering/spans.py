"""Models of the architecture `…ForQuestionAnswering`, which point at a span of the context."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from qa_assets.core.examples import Example, Prediction

logger = logging.getLogger(__name__)
_BATCH = 16
_LOG_SECONDS = 5.0


def predict(model_dir: Path, examples: Sequence[Example]) -> list[Prediction]:
    """The best span of each context, or the null span, in windows of the model's length."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, QuestionAnsweringPipeline

    path = str(model_dir)
    pipeline = QuestionAnsweringPipeline(
        AutoModelForQuestionAnswering.from_pretrained(
            path, dtype="float32", use_safetensors=True, local_files_only=True
        ).eval(),
        AutoTokenizer.from_pretrained(path, local_files_only=True),
        handle_impossible_answer=True,
    )
    predictions = [Prediction("", 1.0)] * len(examples)
    todo = [
        number
        for number, example in enumerate(examples)
        if all(text.strip() for text in example.inputs.values())
    ]
    start = logged = time.monotonic()
    for first in range(0, len(todo), _BATCH):
        numbers = todo[first : first + _BATCH]
        spans = pipeline(
            question=[examples[number].inputs["question"] for number in numbers],
            context=[examples[number].inputs["context"] for number in numbers],
            batch_size=_BATCH,
        )
        for number, span in zip(numbers, spans if len(numbers) > 1 else [spans], strict=True):
            predictions[number] = Prediction(span["answer"].strip(), min(1.0, span["score"]))
        if time.monotonic() - logged > _LOG_SECONDS:
            logged = time.monotonic()
            done = first + len(numbers)
            logger.info(
                "answered %d of %d, %.1f questions/s", done, len(todo), done / (logged - start)
            )
    return predictions

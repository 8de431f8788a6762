"""Abstention: how much the null text is to be favoured, chosen on held-out rows.

The bias is stored where `generate` of transformers looks for it, as `sequence_bias` in
`generation_config.json`, and told in `calibration.json`.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.training import generation
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILE = "calibration.json"
_GENERATION = "generation_config.json"
_log = logging.getLogger(__name__)


class CalibrationError(ValueError):
    """Abstention that cannot be calibrated; the message says why and the remedy."""


@dataclass(frozen=True)
class Calibration:
    """The bias to add to the null token's logit, and what it does on the rows it was chosen on.

    F1 is in percent; rows are counted that abstain without and with the bias.
    """

    bias: float
    f1_before: float
    f1_after: float
    abstained_before: int
    abstained_after: int
    rows: int
    null_text: str
    null_token_id: int


def null_token(tokenizer: "PreTrainedTokenizerBase", null_text: str) -> int:
    """The one token that the null text is.

    Raises:
        CalibrationError: it is more than one.
    """
    ids: list[int] = tokenizer(null_text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise CalibrationError(
            f"QA_ASSETS_DATA_NO_ANSWER: {null_text!r} is {len(ids)} tokens "
            f"({tokenizer.convert_ids_to_tokens(ids)}) and must be one of the model's vocabulary"
        )
    return ids[0]


def calibrate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[Any],
    *,
    config: TrainingConfig,
    null_text: str,
    score_each: Callable[[str, Sequence[str]], float],
) -> Calibration:
    """Find the bias that makes the mean F1 of greedy answers the best.

    Args:
        model: with no bias yet.
        tokenizer: the model's.
        rows: with `source` and `references`, not trained on.
        config: lengths, batch size and precision.
        null_text: what the model says to abstain, one token.
        score_each: F1 from 0 to 1 of an answer against references; the answer "" abstains.

    Raises:
        CalibrationError: the null text is not one token.
    """
    token = null_token(tokenizer, null_text)
    margins = [0.0] * len(rows)
    answers = [""] * len(rows)
    for numbers, output in generation.decode(
        model,
        tokenizer,
        [row["source"] for row in rows],
        batch_size=config.batch_size,
        precision=config.precision,
        max_new_tokens=config.max_target_tokens,
        suppress_tokens=[token],
        output_logits=True,
    ):
        first = output.logits[0].float().clone()  # else of inference mode
        null = first[:, token].clone()
        first[:, token] = float("-inf")
        batch_margins = (null - first.max(dim=-1).values).tolist()
        texts = generation.texts_of(tokenizer, output)
        for number, margin, text in zip(numbers, batch_margins, texts, strict=True):
            margins[number], answers[number] = margin, text
    answered = [score_each(a, row["references"]) for a, row in zip(answers, rows, strict=True)]
    abstained = [score_each("", row["references"]) for row in rows]
    bias, before, after = sweep(margins, answered, abstained)
    result = Calibration(
        bias,
        100 * before,
        100 * after,
        sum(margin > 0 for margin in margins),
        sum(margin + bias > 0 for margin in margins),
        len(rows),
        null_text,
        token,
    )
    _log.info(
        "bias %+.3f: F1 %.2f to %.2f, abstaining %d to %d of %d",
        bias, result.f1_before, result.f1_after,
        result.abstained_before, result.abstained_after, len(rows),
    )  # fmt: skip
    return result


def sweep(
    margins: Sequence[float], answered: Sequence[float], abstained: Sequence[float]
) -> tuple[float, float, float]:
    """The bias that makes the mean score the best, where a row abstains if margin + bias > 0.

    All biases that decide the same are one interval, and there is one more of those than there are
    different margins. Of an interval 0 is taken if it holds it, else the middle, and of equally
    good biases the one nearest to 0.

    Args:
        margins: by row, the null token's logit less the best other one.
        answered: by row, the score of answering.
        abstained: by row, the score of abstaining.

    Returns:
        The bias, the mean score at a bias of 0, and the mean score at the bias.
    """
    rows = sorted(zip(margins, answered, abstained, strict=True), reverse=True)
    biases = sorted({-margin for margin in margins})
    # the outermost intervals have no end, but a middle all the same
    edges = [min(0.0, biases[0]) - 2.0, *biases, max(0.0, biases[-1]) + 2.0]
    before = sum(null if margin > 0 else answer for margin, answer, null in rows) / len(rows)
    total = sum(answered)
    best, bias_of_best, after = (-1.0, 0.0), 0.0, before
    start = 0
    # in the interval (low, high] those rows abstain whose margin is at least -low
    for low, high in zip(edges, edges[1:], strict=False):
        while start < len(rows) and rows[start][0] >= -low:
            total += rows[start][2] - rows[start][1]
            start += 1
        bias = 0.0 if low < 0 <= high else (low + high) / 2
        # rounded: sums in another order must not break ties
        rank = (round(total / len(rows), 12), -abs(bias))
        if rank > best:
            best, bias_of_best, after = rank, bias, total / len(rows)
    return bias_of_best, before, after


def apply(model_dir: Path, calibration: Calibration) -> None:
    """Write the calibration into a Hugging Face directory; a bias of 0 leaves no trace in it."""
    path = model_dir / _GENERATION
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings.pop("sequence_bias", None)
    if calibration.bias:
        settings["sequence_bias"] = [[[calibration.null_token_id], calibration.bias]]
    _write(path, settings)
    _write(model_dir / FILE, asdict(calibration))


def read_bias(model_dir: Path) -> float:
    """The bias that `apply` wrote."""
    return float(json.loads((model_dir / FILE).read_text(encoding="utf-8"))["bias"])


def read_null_text(model_dir: Path) -> str | None:
    """What the model says to abstain, as `apply` wrote it; None where it did not."""
    path = model_dir / FILE
    if not path.is_file():
        return None
    text: str = json.loads(path.read_text(encoding="utf-8"))["null_text"]
    return text


def _write(path: Path, content: dict[str, Any]) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)

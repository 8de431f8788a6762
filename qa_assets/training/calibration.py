"""A model's abstention: how much the null text is to be favoured, chosen on held-out rows.

The mathematics is in `abstention`; here a model is asked, and the outcome written: the bias where
`generate` of transformers looks for it, as `sequence_bias` in `generation_config.json`, and all of
it in `calibration.json`.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core import files
from qa_assets.models import decoding
from qa_assets.training import abstention, features
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
    """The bias to add to the null token's logit, and what it does.

    F1 is in percent. `f1_before` and `f1_after` are on the rows that the bias was chosen on;
    `held_out` says what choosing is worth on articles it was not chosen on. The sigmoid of
    (margin + bias) / temperature is the calibrated probability that there is no answer.
    """

    bias: float
    temperature: float
    f1_before: float
    f1_after: float
    abstained_before: int
    abstained_after: int
    rows: int
    null_text: str
    null_token_id: int
    held_out: dict[str, float]
    folds: list[abstention.Fold]
    risk_coverage: list[dict[str, float]]


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

    A bias whose gain does not hold on articles that it was not chosen on is not used: it is 0.

    Args:
        model: with or without a bias.
        tokenizer: the model's.
        rows: with `source`, `references` and `title`, the article; not trained on.
        config: lengths, batch size and precision.
        null_text: what the model says to abstain, one token.
        score_each: F1 from 0 to 1 of an answer against references; the answer "" abstains.

    Raises:
        CalibrationError: the null text is not one token.
    """
    token = null_token(tokenizer, null_text)
    sources = [row["source"] for row in rows]
    margins, answers = decode_apart(model, tokenizer, sources, config=config, token=token)
    answered = [score_each(a, row["references"]) for a, row in zip(answers, rows, strict=True)]
    abstained = [score_each("", row["references"]) for row in rows]
    null = [not row["references"] for row in rows]
    folds = abstention.cross_fit(margins, answered, abstained, null, [row["title"] for row in rows])
    held_out = _held_out(folds)
    bias, before, after = abstention.sweep(margins, answered, abstained)
    if held_out and held_out["f1_after"] < held_out["f1_before"]:
        _log.info("the bias %+.3f does not hold on other articles: none is used", bias)
        bias, after = 0.0, before
    result = Calibration(
        bias=bias,
        temperature=abstention.fit_temperature(margins, null, bias),
        f1_before=100 * before,
        f1_after=100 * after,
        abstained_before=sum(margin > 0 for margin in margins),
        abstained_after=sum(margin + bias > 0 for margin in margins),
        rows=len(rows),
        null_text=null_text,
        null_token_id=token,
        held_out=held_out,
        folds=folds,
        risk_coverage=abstention.risk_coverage(margins, answered),
    )
    _log.info(
        "bias %+.3f: F1 %.2f to %.2f (%+.2f on articles it was not chosen on), abstaining %d to %d "
        "of %d",
        bias, result.f1_before, result.f1_after, held_out.get("gain", 0.0),
        result.abstained_before, result.abstained_after, len(rows),
    )  # fmt: skip
    return result


def decode_apart(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    *,
    config: TrainingConfig,
    token: int,
) -> tuple[list[float], list[str]]:
    """For each source the margin of abstaining, and what is answered otherwise.

    Args:
        model: a bias that it has is not in the margins.
        tokenizer: the model's.
        sources: any number of texts.
        config: lengths, batch size and precision.
        token: the null token, see `null_token`.

    Returns:
        By source the null token's logit less the best other one at the first place, and the greedy
        text without the null token: of the window in which that margin is least.
    """
    windows = features.encode_sources(
        sources, tokenizer, config.max_source_tokens, config.window_overlap_tokens
    )
    ids = [window.ids for one in windows for window in one]
    of = [number for number, one in enumerate(windows) for _ in one]
    margins = [math.inf] * len(sources)
    answers = [""] * len(sources)
    for numbers, decoded in decoding.decode(
        model,
        tokenizer,
        ids,
        **config.decoding,
        suppress_tokens=[token],
    ):
        first = decoded.first_logits.clone()  # else of inference mode
        null = first[:, token].clone()
        first[:, token] = float("-inf")
        batch_margins = (null - first.max(dim=-1).values).tolist()
        texts = decoding.texts_of(tokenizer, decoded.sequences)
        for number, margin, text in zip(numbers, batch_margins, texts, strict=True):
            # a question is abstained on where all of its windows are
            if margin < margins[of[number]]:
                margins[of[number]], answers[of[number]] = margin, text
    return margins, answers


def _held_out(folds: Sequence[abstention.Fold]) -> dict[str, float]:
    """The folds' figures over all rows, and the gain in F1; nothing if there are no folds."""
    if not folds:
        return {}
    total = sum(fold.rows for fold in folds)
    names = ("f1_before", "f1_after", "nll_before", "nll_after")
    means = {name: sum(getattr(fold, name) * fold.rows for fold in folds) / total for name in names}
    return means | {"gain": means["f1_after"] - means["f1_before"]}


def apply(model_dir: Path, calibration: Calibration) -> None:
    """Write the calibration into a Hugging Face directory; a bias of 0 leaves no trace in it."""
    path = model_dir / _GENERATION
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings.pop("sequence_bias", None)
    if calibration.bias:
        settings["sequence_bias"] = [[[calibration.null_token_id], calibration.bias]]
    files.write_json(path, settings)
    files.write_json(model_dir / FILE, asdict(calibration))


def read_null_text(model_dir: Path) -> str | None:
    """What the model says to abstain, as `apply` wrote it; None where it did not."""
    path = model_dir / FILE
    if not path.is_file():
        return None
    text: str = json.loads(path.read_text(encoding="utf-8"))["null_text"]
    return text

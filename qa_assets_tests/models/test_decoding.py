"""Greedy decoding of many sources."""

from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, decoding
from qa_assets.models.family import PredictOptions
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets_tests.training_fixtures import sources


def test_outputs_do_not_depend_on_the_batch(babbler: Path, examples: list[Example]) -> None:
    """Sources of different lengths, decoded alone and together, in either order."""
    model, tokenizer = base_model.load(babbler)
    read = sources(examples[:20])

    def outputs(sources: list[str], batch_size: int) -> list[str]:
        options = PredictOptions(max_new_tokens=6, batch_size=batch_size, precision="fp32")
        predictions = Seq2Seq().outputs(model, tokenizer, sources, options)
        return [prediction.text for prediction in predictions]

    alone = outputs(read, 1)
    assert len(set(alone)) > 3  # so that there is something to confuse
    assert outputs(read, 7) == alone
    assert outputs(read[::-1], 20) == alone[::-1]
    assert outputs([], 8) == []


def test_greedy_decoding_is_that_of_argmax(babbler: Path, examples: list[Example]) -> None:
    """Without cache and `generate`: one forward call a token."""
    import torch

    model, tokenizer = base_model.load(babbler)
    read = sources(examples[:1])
    source = tokenizer(read, return_tensors="pt")
    decoded = [model.config.decoder_start_token_id]
    with torch.no_grad():
        for _ in range(5):
            logits = model(**source, decoder_input_ids=torch.tensor([decoded])).logits
            decoded.append(int(logits[0, -1].argmax()))
            if decoded[-1] == tokenizer.eos_token_id:
                break
    expected = tokenizer.decode(decoded, skip_special_tokens=True)
    options = PredictOptions(max_new_tokens=5, batch_size=1, precision="fp32")
    (output,) = Seq2Seq().outputs(model, tokenizer, read, options)
    assert output.text == expected


def test_doubtful_outputs_of_bf16_are_decoded_again_in_fp32(
    babbler: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source once; what is sure enough stays as bf16 has it."""
    model, tokenizer = base_model.load(babbler)
    ids = tokenizer(sources(examples[:40]))["input_ids"]

    def decode(precision: str, gap: float) -> tuple[dict[int, float], list[int]]:
        monkeypatch.setattr(decoding, "_MIN_GAP", gap)
        log_probabilities: dict[int, float] = {}
        order: list[int] = []
        options: dict[str, Any] = {"batch_size": 7, "max_new_tokens": 6}
        for numbers, decoded in decoding.decode(model, ids, precision=precision, **options):
            log_probabilities |= dict(zip(numbers, decoded.log_probabilities.tolist(), strict=True))
            order += numbers
        assert sorted(order) == list(range(40))
        return log_probabilities, order

    exact, _ = decode("fp32", 0.1)
    rounded, order = decode("bf16", 0.0)
    assert all(rounded[number] != exact[number] for number in exact)
    everything, _ = decode("bf16", float("inf"))
    assert everything == pytest.approx(exact, rel=1e-4)
    mixed, late = decode("bf16", 0.1)
    again = {number for number in mixed if mixed[number] != rounded[number]}
    assert 0 < len(again) < 40
    assert set(late[-len(again) :]) == again
    assert [number for number in order if number not in again] == late[: -len(again)]
    assert {number: mixed[number] for number in again} == pytest.approx(
        {number: exact[number] for number in again}, rel=1e-4
    )

"""Greedy decoding."""

from pathlib import Path
from typing import Any

import pytest

from qa_assets.models import base_model, decoding
from qa_assets.tasks.question_answering.windows import PieceCounter, Windows, best
from qa_assets.training.features import Row

WHOLE: dict[str, Any] = {"max_source_tokens": 512, "window_overlap_tokens": 128}


def test_answers_do_not_depend_on_the_batch(babbler: Path, rows: list[Row]) -> None:
    """Sources of different lengths, decoded alone and together, in either order."""
    model, tokenizer = base_model.load(babbler)
    sources = [row["source"] for row in rows[:20]]

    def answers(sources: list[str], batch_size: int) -> list[str]:
        return decoding.generate(
            model,
            tokenizer,
            sources,
            max_new_tokens=6,
            batch_size=batch_size,
            precision="fp32",
        )

    alone = answers(sources, 1)
    assert len(set(alone)) > 3  # so that there is something to confuse
    assert answers(sources, 7) == alone
    assert answers(sources[::-1], 20) == alone[::-1]
    assert answers([], 8) == []


def test_greedy_decoding_is_that_of_argmax(babbler: Path, rows: list[Row]) -> None:
    """Without cache and `generate`: one forward call a token."""
    import torch

    model, tokenizer = base_model.load(babbler)
    source = tokenizer(rows[0]["source"], return_tensors="pt")
    decoded = [model.config.decoder_start_token_id]
    with torch.no_grad():
        for _ in range(5):
            logits = model(**source, decoder_input_ids=torch.tensor([decoded])).logits
            decoded.append(int(logits[0, -1].argmax()))
            if decoded[-1] == tokenizer.eos_token_id:
                break
    expected = tokenizer.decode(decoded, skip_special_tokens=True)
    texts = decoding.generate(
        model,
        tokenizer,
        [rows[0]["source"]],
        max_new_tokens=5,
        batch_size=1,
        precision="fp32",
    )
    assert texts == [expected]


def test_confidence_is_the_probability_of_the_answer(babbler: Path, rows: list[Row]) -> None:
    """Against one forward call over the whole answer, with and without a bias on a token."""
    import torch

    sources = [row["source"] for row in rows[:12]]
    for bias in (None, -2.0):
        model, tokenizer = base_model.load(babbler)
        arguments: dict[str, Any] = {"max_new_tokens": 6, "batch_size": 5, "precision": "fp32"}
        favoured = tokenizer("unavailable", add_special_tokens=False)["input_ids"]
        if bias:
            model.generation_config.sequence_bias = [[favoured, bias]]
        texts, confidences = decoding.answer(model, tokenizer, sources, "", **WHOLE, **arguments)
        assert texts == decoding.generate(model, tokenizer, sources, **arguments)
        assert len(set(confidences)) > 3
        for source, confidence in zip(sources, confidences, strict=True):
            encoded = tokenizer(source, return_tensors="pt")
            (said,) = model.generate(**encoded, max_new_tokens=6)
            with torch.no_grad():
                logits = model(**encoded, decoder_input_ids=said[None, :-1]).logits[0]
            logits[:, favoured[0]] += bias or 0.0
            steps = logits.log_softmax(-1)[torch.arange(len(said) - 1), said[1:]]
            assert confidence == pytest.approx(float(steps.sum().exp()), rel=1e-3)


def test_the_best_window_answers(babbler: Path, rows: list[Row]) -> None:
    """Against windows that are asked one by one, with a limit that parts most sources."""
    model, tokenizer = base_model.load(babbler)
    sources = [row["source"] for row in rows[:30]]
    lengths: dict[str, Any] = {"max_source_tokens": 30, "window_overlap_tokens": 8}
    arguments: dict[str, Any] = {"max_new_tokens": 6, "batch_size": 5, "precision": "fp32"}
    windows = Windows(PieceCounter(babbler / "spiece.model"), *lengths.values())
    parted = 0
    said = decoding.answer(model, tokenizer, sources, "Rollo", **lengths, **arguments)
    for source, answer, confidence in zip(sources, *said, strict=True):
        parts = [window.source for window in windows.of_source(source)]
        texts, confidences = decoding.answer(model, tokenizer, parts, "", **WHOLE, **arguments)
        chosen = best(decoding.to_answers(texts, "Rollo"), confidences)
        assert answer == texts[chosen]
        assert confidence == pytest.approx(confidences[chosen], rel=1e-3)
        parted += len(parts) > 1
    assert parted > 10
    assert decoding.answer(model, tokenizer, [], "Rollo", **lengths, **arguments) == ([], [])


def test_abstentions_become_empty_answers() -> None:
    texts = ["unavailable", " Unavailable ", "an unavailable town", " 1801 "]
    assert decoding.to_answers(texts, "unavailable") == ["", "", "an unavailable town", "1801"]


def test_what_bf16_leaves_in_doubt_is_said_in_fp32(
    babbler: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source once; all that is sure enough is left as bf16 has it."""
    model, tokenizer = base_model.load(babbler)
    ids = tokenizer([row["source"] for row in rows[:40]])["input_ids"]

    def decoded(precision: str, doubt: float) -> tuple[dict[int, float], list[int]]:
        monkeypatch.setattr(decoding, "_DOUBT", doubt)
        said: dict[int, float] = {}
        order: list[int] = []
        options: dict[str, Any] = {"batch_size": 7, "max_new_tokens": 6}
        for numbers, one in decoding.decode(model, tokenizer, ids, precision=precision, **options):
            said |= dict(zip(numbers, one.log_probabilities.tolist(), strict=True))
            order += numbers
        assert sorted(order) == list(range(40))
        return said, order

    exact, _ = decoded("fp32", 0.1)
    rounded, order = decoded("bf16", 0.0)
    assert all(rounded[number] != exact[number] for number in exact)
    everything, _ = decoded("bf16", float("inf"))
    assert everything == pytest.approx(exact, rel=1e-4)
    mixed, late = decoded("bf16", 0.1)
    again = {number for number in mixed if mixed[number] != rounded[number]}
    assert 0 < len(again) < 40
    assert set(late[-len(again) :]) == again
    assert [number for number in order if number not in again] == late[: -len(again)]
    assert {number: mixed[number] for number in again} == pytest.approx(
        {number: exact[number] for number in again}, rel=1e-4
    )

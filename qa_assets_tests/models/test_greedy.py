"""The decoding loop against transformers' own, under the same generation config."""

from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, decoding
from qa_assets.models.tokenization import pad
from qa_assets_tests.training_fixtures import sources

_TO_THE_END = 6.0  # for outputs of one token to more than twelve


@pytest.fixture(scope="module")
def asked(babbler: Path, examples: list[Example]) -> dict[str, Any]:
    """A model with outputs of different length, and what it is asked."""
    model, tokenizer = base_model.load(babbler)
    ids = tokenizer(sources(examples[:40]))["input_ids"]
    model.generation_config.sequence_bias = [[[model.config.eos_token_id], _TO_THE_END]]
    return {"model": model, "ids": ids}


def theirs(asked: dict[str, Any], **options: Any) -> Any:
    ids = pad(asked["ids"], 0)
    return asked["model"].generate(
        input_ids=ids,
        attention_mask=(ids != 0).long(),
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        **options,
    )


def ours(asked: dict[str, Any], **options: Any) -> Any:
    import torch

    decoder = decoding.decoder_of(asked["model"], torch.float32)
    return decoding.decode_batch(asked["model"], decoder, asked["ids"], **options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 12},
        {"max_new_tokens": 1},
        {"max_new_tokens": 12, "sequence_bias": [[[1], 5.0], [[40], 3.0]]},
        {"max_new_tokens": 12, "min_new_tokens": 4, "repetition_penalty": 1.5},
    ],
    ids=["plain", "one token", "bias", "of what was said"],
)
def test_says_what_transformers_says(asked: dict[str, Any], options: dict[str, Any]) -> None:
    """Token for token, and how sure, with processors that read what was said too."""
    expected, found = theirs(asked, **options), ours(asked, **options)
    assert found.sequences.tolist() == expected.sequences.tolist()
    assert found.first_logits.numpy() == pytest.approx(expected.logits[0].numpy(), abs=1e-3)
    end = asked["model"].config.eos_token_id
    for row, said in enumerate(expected.sequences[:, 1:].tolist()):
        length = said.index(end) + 1 if end in said else len(said)
        scores = [step[row] for step in expected.scores[:length]]
        log_probability = sum(
            float(step.log_softmax(-1)[token]) for step, token in zip(scores, said, strict=False)
        )
        assert float(found.log_probabilities[row]) == pytest.approx(
            log_probability, rel=1e-3, abs=1e-4
        )
        best = [step.topk(2).values for step in scores]
        gap = min(float(first - second) for first, second in best)
        assert float(found.min_gaps[row]) == pytest.approx(gap, abs=1e-3)


def test_what_is_finished_is_computed_no_more(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qa_assets.models.t5.inference import InferenceT5

    rows: list[int] = []
    step = InferenceT5.step

    def counted(self: InferenceT5, tokens: Any, state: Any) -> Any:
        rows.append(len(tokens))
        return step(self, tokens, state)

    monkeypatch.setattr(InferenceT5, "step", counted)
    sequences = ours(asked, max_new_tokens=12).sequences
    end = asked["model"].config.eos_token_id
    going = [
        sum(end not in said[:length] for said in sequences[:, 1:].tolist())
        for length in range(len(rows))
    ]
    assert rows[0] == len(sequences)
    assert going[-1] < rows[0] / 2
    assert all(
        needed <= taken < max(2 * needed, 2) for needed, taken in zip(going, rows, strict=True)
    )


def test_rows_are_taken_out(asked: dict[str, Any]) -> None:
    import torch

    found = ours(asked, max_new_tokens=5)
    part = found.rows(torch.tensor([3, 1]))
    assert torch.equal(part.sequences, found.sequences[[3, 1]])
    assert torch.equal(part.min_gaps, found.min_gaps[[3, 1]])

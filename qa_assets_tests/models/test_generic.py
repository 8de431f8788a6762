"""Encoder-decoders that are no T5 against transformers' own loss and `generate`."""

import math
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, decoding, t5
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets.models.task_model import PredictOptions
from qa_assets.models.tokenization import encode, pad
from qa_assets.training import dataset
from qa_assets_tests.models.tiny_seq2seq import ARCHITECTURES, POSITIONS, babbler, create
from qa_assets_tests.training_fixtures import CONFIG, TASK, sources, texts


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model_dir(
    request: pytest.FixtureRequest,
    examples: list[Example],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("generic") / request.param
    return create(request.param, texts(examples), out)


def global_attention(model: Any, input_ids: Any) -> dict[str, Any]:
    """LED's first token attends to all others."""
    if model.config.model_type != "led":
        return {}
    mask = (input_ids * 0).long()
    mask[:, 0] = 1
    return {"global_attention_mask": mask}


def test_loss_is_that_of_transformers(model_dir: Path, examples: list[Example]) -> None:
    import torch

    model, tokenizer = base_model.load(model_dir)
    assert not t5.applies_to(model)
    batch = dataset.encode(examples[:7], TASK, tokenizer, CONFIG).batch(
        list(range(7)), tokenizer.pad_token_id
    )
    with torch.no_grad():
        logits = model(**batch, **global_attention(model, batch["input_ids"])).logits
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum",
            label_smoothing=smoothing,
        )  # fmt: skip
        loss = Seq2Seq(model, tokenizer, TASK).loss(smoothing)(**batch)
        assert loss.item() == pytest.approx(float(expected), rel=1e-4)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("bias", [0.0, 6.0])
def test_confidences_and_margins_are_those_of_the_scores(
    model_dir: Path, examples: list[Example], bias: float
) -> None:
    """Against the scores that `generate` returns, also of rows that end before others."""
    model, tokenizer = babbler(model_dir)
    model.generation_config.update(repetition_penalty=1.5, sequence_bias=[[[2], bias]])
    options = PredictOptions(max_new_tokens=9, batch_size=24, precision="fp32")
    text_start = 0 if model.config.model_type == "mt5" else 1
    ids = encode(tokenizer, sources(examples[:24]))
    padded = pad(ids, tokenizer.pad_token_id)

    def generate(**more: Any) -> Any:
        return model.generate(
            input_ids=padded,
            attention_mask=(padded != tokenizer.pad_token_id).long(),
            return_dict_in_generate=True,
            output_scores=True,
            max_new_tokens=9,
            **global_attention(model, padded),
            **more,
        )

    lengths = require_equal(
        decoding.decode(model, tokenizer, ids, options), generate(), model, tokenizer
    )
    assert len(lengths) > (2 if bias else 0)
    token = 7
    outputs = decoding.decode(
        model, tokenizer, ids, options, decoding.Abstention(token, text_start)
    )
    suppressed = generate(suppress_tokens=[token], sequence_bias=None)
    assert [output.text for output in outputs] == decoding.texts_of(tokenizer, suppressed.sequences)
    first = generate(sequence_bias=None).scores[text_start]
    others = first.clone()
    others[:, token] = -float("inf")
    if text_start == 0:  # else what stands before the text could differ
        assert [output.margin for output in outputs] == pytest.approx(
            (first[:, token] - others.max(-1).values).tolist(), abs=1e-3
        )


def require_equal(
    outputs: list[decoding.Output], expected: Any, model: Any, tokenizer: Any
) -> set[int]:
    """Texts and confidences; returns the lengths of the outputs in tokens."""
    assert [output.text for output in outputs] == decoding.texts_of(tokenizer, expected.sequences)
    end = model.config.eos_token_id
    lengths = set()
    for row, tokens in enumerate(expected.sequences[:, 1:].tolist()):
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        lengths.add(length)
        steps = [step[row].log_softmax(-1) for step in expected.scores[:length]]
        confidence = math.exp(sum(float(s[t]) for s, t in zip(steps, tokens, strict=False)))
        assert outputs[row].confidence == pytest.approx(confidence, rel=1e-3, abs=1e-6)
    return lengths


def test_prompts_are_no_longer_than_positions(model_dir: Path, examples: list[Example]) -> None:
    model, tokenizer = base_model.load(model_dir)
    fixed = model.config.model_type != "mt5"
    assert base_model.max_positions(model) == (POSITIONS if fixed else None)
    context = " ".join(example.inputs["context"] for example in examples[:20])
    question = examples[0].inputs["question"]
    asked = [
        Example("windows", "", {"question": question, "context": context}),
        Example("cut", "", {"question": question * 50, "context": context}),
    ]
    options = PredictOptions(max_new_tokens=4, precision="fp32")
    assert len(Seq2Seq(model, tokenizer, TASK).predict(asked, options)) == 2
    if fixed:
        with pytest.raises(base_model.BaseModelError, match=f"reads {POSITIONS} at most"):
            base_model.require_positions(model, POSITIONS + 1)
    base_model.require_positions(model, POSITIONS)


def test_a_directory_needs_no_sentencepiece(model_dir: Path, tmp_path: Path) -> None:
    model, tokenizer = base_model.load(model_dir)
    copy = base_model.save(model, tokenizer, tmp_path / "copy")
    assert not (copy / "spiece.model").exists()
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(base_model.BaseModelError, match="lacks a tokenizer"):
        base_model.load(copy)

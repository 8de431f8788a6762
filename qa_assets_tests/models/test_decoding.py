"""Greedy decoding of many sources."""

from pathlib import Path

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, decoding
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets.models.task_model import PredictOptions
from qa_assets_tests.training_fixtures import TASK, sources


def test_outputs_do_not_depend_on_the_batch(babbler: Path, examples: list[Example]) -> None:
    """Sources of different lengths, decoded alone and together, in either order."""
    model, tokenizer = base_model.load(babbler)
    read = sources(examples[:20])

    def outputs(sources: list[str], batch_size: int) -> list[str]:
        options = PredictOptions(max_new_tokens=6, batch_size=batch_size, precision="fp32")
        predictions = Seq2Seq(model, tokenizer, TASK).outputs(sources, options)
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
    (output,) = Seq2Seq(model, tokenizer, TASK).outputs(read, options)
    assert output.text == expected


def test_ctranslate2_decodes_as_transformers_does(babbler: Path, examples: list[Example]) -> None:
    """Texts and confidences with a bias, and margins without it, in two chunks."""
    model, tokenizer = base_model.load(babbler)
    ids = tokenizer(sources(examples))["input_ids"]
    assert len(ids) > 128
    end, token = model.config.eos_token_id, 5
    model.generation_config.sequence_bias = [[[end], 4.0], [[token], 2.0]]
    options = PredictOptions(max_new_tokens=8, precision="fp32")
    outputs = decoding.decode(model, tokenizer, ids, options)
    expected = decoding.generate(model, tokenizer, ids, options)
    require_close(outputs, expected)
    assert len({output.text for output in outputs}) > 10
    without = decoding.Abstention(token, text_start=0)
    outputs = decoding.decode(model, tokenizer, ids, options, without)
    batches = decoding._generated(model, tokenizer, ids, options, without)
    expected = decoding._in_order(len(ids), batches)
    require_close(outputs, expected)
    assert [output.margin for output in outputs] == pytest.approx(
        [output.margin for output in expected], abs=1e-2
    )


def require_close(outputs: list[decoding.Output], expected: list[decoding.Output]) -> None:
    assert [output.text for output in outputs] == [output.text for output in expected]
    assert [output.confidence for output in outputs] == pytest.approx(
        [output.confidence for output in expected], rel=1e-2, nan_ok=True
    )


def test_decoding_leaves_torch_its_threads(babbler: Path, examples: list[Example]) -> None:
    """CTranslate2 sets OpenMP's number of threads for the whole process."""
    import torch

    before = torch.get_num_threads()
    model, tokenizer = base_model.load(babbler)
    ids = tokenizer(sources(examples[:3]))["input_ids"]
    decoding.decode(model, tokenizer, ids, PredictOptions(max_new_tokens=2))
    assert torch.get_num_threads() == before

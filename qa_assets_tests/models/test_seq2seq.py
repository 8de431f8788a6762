"""Predictions of text-to-text models: confidence, windows, abstention."""

import json
import shutil
from pathlib import Path

import pytest

from qa_assets.core.examples import Budget, Example, Prediction
from qa_assets.models import base_model
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets.models.task_model import PredictOptions
from qa_assets.models.tokenization import encode_prompts
from qa_assets.models.tokens import PieceCounter
from qa_assets.tasks.question_answering import QuestionAnswering, windows
from qa_assets_tests.training_fixtures import TASK, sources

WHOLE = PredictOptions(max_new_tokens=6, batch_size=5, precision="fp32")
PARTED = PredictOptions(30, 8, max_new_tokens=6, batch_size=5, precision="fp32")


def test_confidence_is_the_probability_of_the_text(babbler: Path, examples: list[Example]) -> None:
    """Against one forward call over the whole output, with and without a bias on a token."""
    import torch

    for bias in (None, -2.0):
        model, tokenizer = base_model.load(babbler)
        favoured = tokenizer("unavailable", add_special_tokens=False)["input_ids"]
        if bias:
            model.generation_config.sequence_bias = [[favoured, bias]]
        predictions = Seq2Seq(model, tokenizer, TASK).predict(examples[:12], WHOLE)
        outputs = Seq2Seq(model, tokenizer, TASK).outputs(sources(examples[:12]), WHOLE)
        assert [prediction.text for prediction in predictions] == [o.text for o in outputs]
        assert len({prediction.confidence for prediction in predictions}) > 3
        for source, prediction in zip(sources(examples[:12]), predictions, strict=True):
            encoded = tokenizer(source, return_tensors="pt")
            (said,) = model.generate(**encoded, max_new_tokens=6)
            with torch.no_grad():
                logits = model(**encoded, decoder_input_ids=said[None, :-1]).logits[0]
            logits[:, favoured[0]] += bias or 0.0
            steps = logits.log_softmax(-1)[torch.arange(len(said) - 1), said[1:]]
            assert prediction.confidence == pytest.approx(float(steps.sum().exp()), rel=1e-3)


def test_the_best_window_answers(babbler: Path, examples: list[Example]) -> None:
    """Against windows that are asked one by one, with a limit that parts most sources."""
    task = QuestionAnswering(no_answer="Rollo")
    model, tokenizer = base_model.load(babbler)
    budget = Budget(PieceCounter(babbler / "spiece.model"), 30, 8)
    parted = 0
    predictions = Seq2Seq(model, tokenizer, task).predict(examples[:30], PARTED)
    for example, prediction in zip(examples[:30], predictions, strict=True):
        question, context = example.inputs["question"], example.inputs["context"]
        parts = windows.windows(f"question: {question} context: ", context, budget)
        outputs = Seq2Seq(model, tokenizer, task).predict(
            [
                Example("", "", {"question": question, "context": context[part.start : part.end]})
                for part in parts
            ],
            WHOLE,
        )
        best = windows.best(outputs)
        assert prediction.text == best.text
        assert prediction.confidence == pytest.approx(best.confidence, rel=1e-3)
        parted += len(parts) > 1
    assert parted > 10
    assert Seq2Seq(model, tokenizer, task).predict([], PARTED) == []


def test_abstentions_become_empty_predictions() -> None:
    said = ["unavailable", " Unavailable ", "an unavailable town", " 1801 "]
    predictions = [TASK.resolve([Prediction(text)]).text for text in said]
    assert predictions == ["", "", "an unavailable town", "1801"]


def test_an_example_in_windows_is_abstained_on_where_all_of_them_are(
    babbler: Path, examples: list[Example]
) -> None:
    model, tokenizer = base_model.load(babbler)
    babbling = Seq2Seq(model, tokenizer, TASK)
    token = babbling.abstention_id(tokenizer, TASK)
    encoded = encode_prompts(TASK, examples[:30], tokenizer, 30, 8)
    assert sum(map(len, encoded)) > 50
    options = PredictOptions(30, 8, max_new_tokens=1, batch_size=5, precision="fp32")
    margins, _ = babbling.abstention_margins(examples[:30], options)
    for bias in (-sorted(margins)[10] + 1e-3, -sorted(margins)[20] + 1e-3):
        model.generation_config.sequence_bias = [[[token], bias]]
        predictions = babbling.predict(examples[:30], options)
        abstained = [prediction.text == "" for prediction in predictions]
        assert abstained == [margin + bias > 0 for margin in margins]
        assert 5 < sum(abstained) < 25


@pytest.mark.parametrize("bias", [1.5, 0.0])
def test_bias_is_where_transformers_looks_for_it(base: Path, tmp_path: Path, bias: float) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(base, model_dir)
    token = Seq2Seq.abstention_id(base_model.load_tokenizer(base), TASK)
    before = json.loads((model_dir / "generation_config.json").read_text())
    for value in (9.0, bias):
        Seq2Seq.set_abstention_bias(model_dir, TASK, value)
    settings = json.loads((model_dir / "generation_config.json").read_text())
    assert settings == before | ({"sequence_bias": [[[token], 1.5]]} if bias else {})


def test_an_abstention_of_several_tokens_is_refused(base: Path) -> None:
    _, tokenizer = base_model.load(base)
    task = QuestionAnswering(no_answer="no answer here")
    with pytest.raises(base_model.BaseModelError, match="question_answering.*tokens"):
        Seq2Seq.abstention_id(tokenizer, task)

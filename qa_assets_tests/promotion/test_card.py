"""The model card says what the metadata says, and its code runs."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from qa_assets.core.examples import Example
from qa_assets.models.loading import predict
from qa_assets.models.task_model import PredictOptions
from qa_assets.tasks.question_answering.task import QuestionAnswering
from qa_assets_tests.promotion.card_facts import write_card as write
from qa_assets_tests.promotion_bench import report


def test_header_is_that_of_the_hub(tmp_path: Path) -> None:
    write(tmp_path)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.license == "cc-by-sa-4.0"
    assert data.datasets == ["rajpurkar/squad_v2"]
    assert data.base_model == "google/flan-t5-small"
    assert data.language == "en"
    figures = {result.metric_type: result.metric_value for result in data.eval_results}
    assert figures == {"exact": 58.0, "f1": 60.0, "hasans_f1": 60.0, "noans_f1": 60.0}
    assert {result.dataset_split for result in data.eval_results} == {"validation"}


def test_scores_stand_with_their_intervals_and_limits(tmp_path: Path) -> None:
    text = write(tmp_path, report=report(0.5))
    assert "| this model | 58.00 | 60.00 [58.00, 62.00] | 60.00 | 60.00 |" in text
    assert "| champion | 57.50 | 59.50 [57.50, 61.50] |" in text
    assert "| always abstain |" in text
    assert "| question word: what | 300 | 60.00 |" in text
    assert "| learning_rate | 0.0003 |" in text
    assert "| train | 4000 |" in text
    assert "+1.25 F1" in text
    assert "longer than 512 tokens" in text
    assert "CC BY-SA 4.0" in text


def test_nothing_of_this_machine_is_in_the_card(tmp_path: Path) -> None:
    data = {"base": str(tmp_path / "my-model"), "raw_squad_source": str(tmp_path / "my-data")}
    text = write(tmp_path, data=data)
    assert str(tmp_path) not in text
    assert "my-model" in text
    assert "my-data" in text
    header = ModelCard(text).data
    assert [header.get("base_model"), header.get("datasets")] == [None, None]


def test_generated_data_are_named_as_such(tmp_path: Path) -> None:
    text = write(tmp_path, data={"base": "tiny", "raw_squad_source": "generated"})
    assert "made-up texts and is of no other use" in text


def test_code_runs(
    tmp_path: Path, candidate_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write(tmp_path, name=str(candidate_model))
    code = text.split("```python\n")[1].split("```")[0]
    exec(compile(code, "card", "exec"), {})  # noqa: S102 - the card's own code
    printed = capsys.readouterr().out.strip()
    task = QuestionAnswering()
    example = Example("sample", "sample", task.messages.sample)
    options = PredictOptions(max_new_tokens=8, precision="fp32")
    (prediction,) = predict(candidate_model, task, [example], options)
    assert printed == prediction.text or (not prediction.text and printed == "None")


def test_no_section_on_abstention_where_the_task_has_none(tmp_path: Path) -> None:
    assert "## Abstention" in write(tmp_path)
    assert "Abstention" not in write(tmp_path, calibration=None)

"""From outputs to labels, and their scores, baselines and tables."""

import pytest

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.reliability import calibration_error
from qa_assets.core.task import load_task
from qa_assets.tasks.classification import Classification

LABELS = ("alarm", "weather", "oos")
TASK = Classification(out_of_scope="oos", label_names=LABELS)
SEVERAL = Classification(multi_label=True, label_names=LABELS)
SPOKEN = Classification(model="seq2seq", out_of_scope="oos", label_names=LABELS)


def example(text: str, *labels: str) -> Example:
    return Example(text, text, {"text": text}, labels)


def test_prompts_and_targets() -> None:
    inside, outside = example("wake me", "alarm"), example("who was caesar")
    assert [(p.source, p.targets) for p in TASK.prompts(inside)] == [("wake me", ("alarm",))]
    assert [p.targets for p in TASK.prompts(outside)] == [("oos",)]
    assert [p.targets for p in SEVERAL.prompts(outside)] == [()]
    assert [(p.source, p.targets) for p in SPOKEN.prompts(inside)] == [
        ("classify: wake me", ("alarm",))
    ]
    assert [p.targets for p in SPOKEN.prompts(outside)] == [("unavailable",)]


@pytest.mark.parametrize(
    ("task", "output", "label"),
    [
        (TASK, Prediction("alarm", 0.9), "alarm"),
        (TASK, Prediction("oos", 0.9), ""),
        (SPOKEN, Prediction(" weather ", 0.9), "weather"),
        (SPOKEN, Prediction("unavailable", 0.9), ""),
        (SPOKEN, Prediction("a nice day", 0.9), ""),
        (
            SEVERAL,
            Prediction("", None, {"alarm": 0.7, "weather": 0.5, "oos": 0.1}),
            "alarm|weather",
        ),
        (SEVERAL, Prediction("", None, {"alarm": 0.2, "weather": 0.4, "oos": 0.1}), ""),
    ],
)
def test_resolve(task: Classification, output: Prediction, label: str) -> None:
    assert task.resolve([output]).text == label


def test_responses_carry_probabilities() -> None:
    probabilities = {"alarm": 0.2, "weather": 0.1, "oos": 0.7}
    prediction = TASK.resolve([Prediction("oos", 0.7, probabilities)])
    assert TASK.respond(prediction) == {
        "label": None, "confidence": 0.7, "probabilities": probabilities,
    }  # fmt: skip
    assert SPOKEN.respond(Prediction("alarm", 0.5))["probabilities"] is None


def test_scores_by_hand() -> None:
    examples = [
        example("a", "alarm"), example("b", "alarm"), example("c", "weather"), example("d"),
    ]  # fmt: skip
    predictions = [
        Prediction("alarm", 0.95), Prediction("weather", 0.65), Prediction("weather", 0.75),
        Prediction("", 0.35),
    ]  # fmt: skip
    scores = TASK.score(examples, predictions)
    # alarm: precision 1, recall 1/2; weather: 1/2, 1; none: 1, 1
    assert scores.figures["macro_f1"] == pytest.approx(100 * (2 / 3 + 2 / 3 + 1) / 3)
    assert scores.figures["accuracy"] == 75
    assert scores.figures["in_scope_accuracy"] == pytest.approx(200 / 3)
    assert scores.figures["out_of_scope_recall"] == 100
    assert scores.figures["calibration_error"] == pytest.approx(
        100 * (0.05 + 0.65 + 0.25 + 0.65) / 4
    )
    assert scores.rows["accuracy"] == [1, 0, 1, 1]
    several = SEVERAL.score(
        [example("a", "alarm", "weather"), example("b")],
        [Prediction("weather|alarm"), Prediction("alarm")],
    )
    assert several.rows["accuracy"] == [1, 0]
    assert "calibration_error" not in several.figures


def test_calibration_error_against_scikit_learn_bins() -> None:
    import numpy as np

    rng = np.random.default_rng(1)
    confidences = rng.random(500)
    right = (rng.random(500) < confidences**2).astype(float)
    bins = np.minimum((confidences * 10).astype(int), 9)
    expected = sum(
        (bins == number).mean()
        * abs(right[bins == number].mean() - confidences[bins == number].mean())
        for number in range(10)
    )
    assert calibration_error(confidences.tolist(), right.tolist()) == pytest.approx(expected)


def test_baselines_learn_from_train() -> None:
    train = [example(f"wake me at {n}", "alarm") for n in range(8)] + [
        example(f"rain in town {n}", "weather") for n in range(4)
    ]
    examples = [example("wake me now", "alarm"), example("any rain", "weather")]
    baselines = TASK.baselines(examples, lambda: train)
    assert [p.text for p in baselines["majority"]] == ["alarm", "alarm"]
    assert [p.text for p in baselines["TF-IDF with logistic regression"]] == ["alarm", "weather"]
    assert TASK.baselines(examples, None) == {}


def test_report_shows_confusions_labels_and_the_trade_off() -> None:
    examples = [example("a", "alarm"), example("b", "weather"), example("c")]
    outputs = [
        Prediction("alarm", 0.8, {"alarm": 0.8, "weather": 0.1, "oos": 0.1}),
        Prediction("alarm", 0.6, {"alarm": 0.6, "weather": 0.3, "oos": 0.1}),
        Prediction("alarm", 0.5, {"alarm": 0.5, "weather": 0.1, "oos": 0.4}),
    ]
    predictions = [TASK.resolve([output]) for output in outputs]
    confusions, labels, trade_off = TASK.report_sections(examples, predictions)
    assert {"label": "weather", "predicted": "alarm", "texts": 1} in confusions.rows
    assert {"label": "alarm", "texts": 1, "precision": 33.3, "recall": 100.0} in labels.rows
    curve = {row["added bias"]: row for row in trade_off.rows}
    assert curve[0.0]["out-of-scope recall"] == 0
    assert curve[0.5]["out-of-scope recall"] == 100  # log(0.5 / 0.4) is 0.22
    assert curve[0.5]["in-scope accuracy"] == 50
    assert curve[6.0]["in-scope accuracy"] == 0


def test_weights_make_texts_out_of_scope_as_frequent_as_they_will_be() -> None:
    task = TASK.model_copy(update={"out_of_scope_share": 0.5})
    examples = [example("a", "alarm"), example("b", "alarm"), example("c", "alarm"), example("d")]
    weights = task.calibration_weights(examples)
    assert weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert TASK.calibration_weights(examples) == [1, 1, 1, 1]


def test_settings_that_contradict_each_other_are_refused() -> None:
    for settings in ({"out_of_scope": "oos"}, {"model": "seq2seq"}):
        with pytest.raises(ValueError, match="multi_label"):
            Classification(multi_label=True, **settings)


def test_a_stored_task_comes_back_with_its_labels() -> None:
    assert load_task(**TASK.spec()) == TASK

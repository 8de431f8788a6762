"""The gate's decisions, and that no broken figure passes."""

import math
from typing import Any

import pytest

from qa_assets.promotion import gate
from qa_assets.promotion.gate import GateConfig
from qa_assets.tasks.question_answering.task import QuestionAnswering
from qa_assets_tests.promotion_bench import report

CONFIG, TASK = GateConfig(), QuestionAnswering()


def failed(
    figures: dict[str, Any], champion: bool = True, config: GateConfig = CONFIG
) -> list[str]:
    decision = gate.decide(figures, config, TASK, champion=champion)
    names = [criterion.name for criterion in decision.criteria if not criterion.passed]
    assert decision.passed == (not names)
    return names


def test_first_champion_needs_no_comparison() -> None:
    decision = gate.decide(report(), CONFIG, TASK, champion=False)
    assert decision.passed
    assert "there is none yet" in decision.reasons


@pytest.mark.parametrize(("difference", "half_width"), [(2.0, 0.8), (0.0, 0.0), (-0.1, 0.8)])
def test_candidate_as_good_as_the_champion_passes(difference: float, half_width: float) -> None:
    assert failed(report(difference, half_width)) == []


@pytest.mark.parametrize(("difference", "half_width"), [(-3.0, 0.5), (-0.5, 0.8), (0.5, 3.0)])
def test_candidate_that_may_be_worse_is_refused(difference: float, half_width: float) -> None:
    figures = report(difference, half_width)
    assert failed(figures) == ["not worse than the champion by more than 1 F1"]
    reasons = gate.decide(figures, CONFIG, TASK, champion=True).reasons
    assert f"{difference:+.2f}" in reasons
    assert ("`data.eval_examples`" in reasons) == (difference > -1)


@pytest.mark.parametrize("part", ["HasAns", "NoAns"])
@pytest.mark.parametrize("f1", [0.0, 19.99, math.nan])
def test_floors(part: str, f1: float) -> None:
    assert failed(report(1.0, **{f"{part}_f1": f1})) == [f"{part} F1 of 20 or more"]


def test_no_floor_for_questions_that_there_are_not() -> None:
    figures = report(1.0)
    for scores in figures["scores"].values():
        del scores["NoAns_f1"]
    assert failed(figures) == []
    figures["scores"]["untuned"]["NoAns_f1"] = 30.0
    assert failed(figures) == ["NoAns F1 of 20 or more"]


def test_floors_of_the_pipeline_take_the_place_of_the_tasks() -> None:
    figures = report(1.0, HasAns_f1=10.0)
    assert failed(figures, config=GateConfig(floors={})) == []
    assert failed(figures, config=GateConfig(floors={"exact": 80})) == ["EM of 80 or more"]


def test_floor_of_an_unknown_measure_does_not_pass() -> None:
    config = GateConfig(floors={"HasAns": 20})
    assert failed(report(1.0), config=config) == ["HasAns of 20 or more"]
    reasons = gate.decide(report(1.0), config, TASK, champion=True).reasons
    assert "only the measures exact, f1, HasAns_f1, NoAns_f1" in reasons


def test_better_than_untuned_beyond_chance() -> None:
    figures = report()
    figures["paired"]["untuned"] = {"f1_difference": 1.0, "interval": [-0.5, 2.5]}
    assert failed(figures, champion=False) == ["better than untuned"]


@pytest.mark.parametrize("f1", [44.0, math.nan])
def test_collapsed_slice_is_named(f1: float) -> None:
    figures = report(0.5)
    figures["slices"][1]["f1"]["candidate"] = f1
    decision = gate.decide(figures, CONFIG, TASK, champion=True)
    assert not decision.passed
    assert f"question word who: {f1:.2f} against 59.50" in decision.reasons
    figures["slices"][1]["examples"] = CONFIG.slice_examples - 1
    assert failed(figures) == []


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"scores": {"candidate": None}, "paired": []},
        report(1.0, f1=math.nan),
        report(1.0) | {"paired": {}},
    ],
)
def test_missing_figures_do_not_pass(figures: dict[str, Any]) -> None:
    assert "better than untuned" in failed(figures)


def test_champion_has_to_be_compared_with() -> None:
    assert failed(report(champion=None), champion=True)

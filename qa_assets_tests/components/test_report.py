"""`test_report`, materialised on small models."""

import json
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.models import tiny_t5
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training.config import TrainingConfig
from qa_assets_tests import pipelines
from qa_assets_tests.splits import write_split


def _model(
    store: ArtifactStore, name: str, texts: list[str], *inputs: Artifact, seed: int, **info: object
) -> Artifact:
    with store.write(name, *inputs) as draft:
        made = tiny_t5.create(texts, draft.path / "made", ["unavailable"], seed)
        for file in made.iterdir():
            file.rename(draft.path / file.name)
        made.rmdir()
        draft.info |= info
    return draft.done()


def test_report_compares_candidate_champion_and_untuned(tmp_path: Path) -> None:
    task = QuestionAnswering()
    task.generate(tmp_path, 150, seed=13)
    location, settings = pipelines.definitions(tmp_path, pipelines.configured())
    store = ArtifactStore(settings.artifacts / pipelines.NAME)
    examples = task.read_examples(tmp_path / "train-v2.0.json")
    train = write_split(store, "train_split", examples)
    write_split(store, "test_split", task.read_examples(tmp_path / "dev-v2.0.json"))
    texts = [task.prompts(example)[0].source for example in examples]
    base = tiny_t5.create(texts, tmp_path / "base", ["unavailable"], seed=1)
    champion = _model(store, "champion", texts, seed=2)
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    with store.write("checkpoints", train) as draft:
        draft.info["trials"] = [{"name": "trial-0", "history": history}]
    info = {
        "base": str(base),
        "task": task.spec(),
        "config": TrainingConfig(max_target_tokens=4).model_dump(),
        "data": {"raw_squad_source": "generated", "train_split_examples": len(examples)},
    }
    _model(store, "best_model", texts, draft.done(), seed=3, **info)

    with dg.instance_for_test() as instance:
        result = pipelines.materialise(location, instance, "test_report")
    (made,) = result.asset_materializations_for_node("tried__test_report")
    report = store.latest("test_report")
    figures = json.loads((report.path / "report.json").read_text())
    assert set(figures["scores"]) == {"candidate", "champion", "untuned", "always abstain"}
    assert report.info["scores"] == figures["scores"]
    assert report.inputs["champion"] == champion.data_version
    assert isinstance(made.metadata["gain_of_abstention_bias_f1"].value, float)
    assert set(figures["paired"]) == {"champion", "untuned", "always abstain"}
    assert any(part["slice"] == "answer seen in train" for part in figures["slices"])
    page = (report.path / "report.html").read_text()
    for part in ("Loss in training", "Reliability", "Risk and coverage"):
        assert part.lower() in page
    end = f"/{pipelines.NAME}/{report.path.name}/report.html"
    assert str(made.metadata["report"].value).endswith(end)
    assert Path(str(made.metadata["report_file"].value)).is_file()
    answers = pq.read_table(report.path / "answers.parquet").to_pylist()
    assert len(answers) == figures["scores"]["candidate"]["total"]
    assert all(0 <= row["candidate_confidence"] <= 1 for row in answers)
